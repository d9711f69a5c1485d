"""A process of a rebuild: an assignment, batch by batch, up to its ends.

It may be killed at any time: its successor continues at the position stored in the schema.
"""

import asyncio
import gc
import os

from execstream.config.logs import configure_logging
from execstream.kafka import header_decoding
from execstream.kafka.security import configure_security
from execstream.recovery.replay.assignment import Assignment, Writer
from execstream.recovery.replay.command_replay import replay_commands
from execstream.recovery.replay.journal_replay import replay_entries
from execstream.recovery.replay.shadow_schema import JOURNAL
from execstream.storage.connections import TALLY, Session

NICENESS = 15  # the live side comes first


def replay_in_process(assignment: Assignment) -> None:
    """Replay `assignment` in a process of its own."""
    header_decoding.install()
    configure_logging(assignment.settings)
    configure_security(assignment.settings.kafka_security)
    os.nice(NICENESS)
    # As in a worker: long-lived objects form no cycles.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    asyncio.run(replay(assignment))


async def replay(assignment: Assignment) -> None:
    """Replay from where the schema is up to the share's ends."""
    session = Session(assignment.settings.postgres, assignment.schema, TALLY)
    writer = Writer(assignment, session)
    try:
        await writer.claim()
        await (replay_entries if assignment.source == JOURNAL else replay_commands)(writer)
    finally:
        await writer.throttle.close()
        await session.close()
