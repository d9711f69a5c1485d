"""A replay as a program that a test may kill: `python -m tests.recovery.replaying SCHEMA`, with
settings in the environment.

Its batches are small, so that there is something to kill it in.
"""

import asyncio
import sys

from execstream.config.settings import read_settings
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.replay_into import replay_into
from tests.recovery.lived import FROM_TOPICS, untold

BATCH = 100  # commands


async def main() -> None:
    [schema] = sys.argv[1:]
    Rebuild.batch_records = BATCH
    Rebuild.worth_processes = 0
    await replay_into(read_settings(), schema, FROM_TOPICS, untold, swapping=False, force=False)


if __name__ == "__main__":
    asyncio.run(main())
