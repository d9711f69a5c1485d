"""What runs in each process of a rebuild: a share, batch by batch, up to its ends.

It may be killed at any time: whoever comes next goes on where the schema is.
"""

import asyncio
import gc
import os

from execstream.kafka import header_decoding
from execstream.kafka.security import get_in
from execstream.recovery.replay.assignment import Share, Writer
from execstream.recovery.replay.command_replay import replay_commands
from execstream.recovery.replay.journal_replay import replay_entries
from execstream.recovery.replay.shadow_schema import JOURNAL
from execstream.storage.lines import Line

NICENESS = 15  # the live side comes first


def replay_in_process(share: Share) -> None:
    """Replay `share` in a process of its own."""
    header_decoding.install()
    get_in(share.kafka_security)
    os.nice(NICENESS)
    # As in a worker: what lives long forms no cycles.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    asyncio.run(replay(share))


async def replay(share: Share) -> None:
    """Replay from where the schema is up to the share's ends."""
    line = Line(share.postgres_dsn, share.schema)
    writer = Writer(share, line)
    try:
        await writer.claim()
        await (replay_entries if share.source == JOURNAL else replay_commands)(writer)
    finally:
        await writer.turns.close()
        await line.close()
