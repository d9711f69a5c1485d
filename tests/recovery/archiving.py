"""Archiving as a program that a test may kill: `python -m tests.recovery.archiving FOLDER`, with
settings in the environment.

Its segments are small, and it takes a while to write each, so that there is something to kill it
in.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from execstream.config.process_lifetime import stop_signals
from execstream.config.settings import read_settings
from execstream.kafka import header_decoding
from execstream.recovery.archive import archiving
from execstream.recovery.archive.archiving import archiver
from tests.recovery.lived import untold

SEGMENT = 2_000  # bytes
MOMENT = 0.02  # seconds before and after a file is on the disk


async def main() -> None:
    [folder] = sys.argv[1:]
    archiving.SEGMENT_BYTES = archiving.HELD_BYTES = header_decoding.MAX_TAKEN = SEGMENT
    sync = os.fsync

    def sync_slowly(fd: Any) -> None:
        time.sleep(MOMENT)
        sync(fd)
        time.sleep(MOMENT)

    os.fsync = sync_slowly
    async with archiver(read_settings(), Path(folder), lambda _: None) as running:
        await running.run(untold, follow=False, stop=stop_signals())


if __name__ == "__main__":
    asyncio.run(main())
