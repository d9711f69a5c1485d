"""The partition that a run lives on: the one of its `graph.create`, which a foreign partitioner may
have chosen otherwise than its key does."""

import asyncio
from collections import Counter
from contextlib import suppress

import asyncpg

from execstream.storage.connections import AWAY
from execstream.storage.querying import parse_id
from execstream.streams.commands import Command, CreateGraph, RunCommand
from execstream.streams.partitions import partition_of
from execstream.streams.redriving import Redriven
from execstream.streams.topics import COMMANDS

PARTITIONER = (
    "Their producer has another partitioner than Java's murmur2, so commands of other producers "
    "for these runs go astray: set partitioner=murmur2_random (librdkafka)."
)
LOOK_UP = 1.0  # seconds
NEWEST = 1_000  # runs that are checked for foreign ones

_PARTITION = "select source_partition from graph_execution where id = $1"
_NEWEST = f"""
select id::text, source_partition, user_id from graph_execution where not is_deleted
 order by created_at desc, id desc limit {NEWEST}
"""


def is_foreign(run_id: str, partition: int) -> bool:
    """Return whether a run is on another partition than that of its key."""
    return partition_of(run_id.encode(), COMMANDS.partitions) != partition


async def partition_for(db: asyncpg.Pool, command: Command) -> int | None:
    """The partition of the run that `command` is about; None where its key decides: there is no
    such run, none is meant, or Postgres does not answer within LOOK_UP seconds."""
    if isinstance(command, CreateGraph) or not isinstance(command, RunCommand):
        return None
    found: int | None = None
    with suppress(*AWAY):
        async with asyncio.timeout(LOOK_UP):
            found = await db.fetchval(_PARTITION, parse_id(command.graph_exec_id))
    return found


async def at_its_run(db: asyncpg.Pool, record: Redriven) -> Redriven:
    """Return `record`, bound for the partition of the run that its key names, if it exists."""
    run_id = parse_id((record.key or b"").decode(errors="replace"))
    found = await db.fetchval(_PARTITION, run_id)
    return record if found is None else record._replace(partition=found)


async def find_foreign(connection: asyncpg.Connection | asyncpg.Pool) -> str | None:
    """Describe those of the NEWEST runs that are on another partition than that of their key; None
    when there are none.
    """
    rows = await connection.fetch(_NEWEST)
    owners = Counter(owner for run_id, at, owner in rows if is_foreign(run_id, at))
    if not owners:
        return None
    [(owner, most)] = owners.most_common(1)
    count = f"{owners.total():,} of the newest {NEWEST:,} runs"
    return f"{count} are where their keys do not belong, {most:,} of them of user {owner}"
