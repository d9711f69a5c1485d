"""A replay as a program that a test may kill: `python -m tests.recovery.replaying SCHEMA`, with
settings in the environment.

Its batches are small, so that there is something to kill it in.
"""

import asyncio
import sys

from execstream.cli.replay import replay
from execstream.recovery.replay.rebuild import Rebuild

BATCH = 10  # commands


async def main() -> None:
    [schema] = sys.argv[1:]
    Rebuild.batch_records = BATCH
    Rebuild.worth_processes = 0
    await replay(into=schema)


if __name__ == "__main__":
    asyncio.run(main())
