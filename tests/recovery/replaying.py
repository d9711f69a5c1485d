"""A replay as a program that a test may kill: `python -m tests.recovery.replaying CONFIG SCHEMA`.

Its batches are small, so that there is something to kill it in.
"""

import asyncio
import json
import sys

from execstream.agents.config import WorkerConfig
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.replay_into import replay_into
from tests.recovery.lived import FROM_TOPICS, settings_of, untold

BATCH = 100  # commands


async def main() -> None:
    config, schema = sys.argv[1:]
    Rebuild.batch_records = BATCH
    Rebuild.worth_processes = 0
    settings = settings_of(WorkerConfig(**json.loads(config)))
    await replay_into(settings, schema, FROM_TOPICS, untold, swapping=False, force=False)


if __name__ == "__main__":
    asyncio.run(main())
