"""What the journal tells of runs before some event, for those who have to catch up with them.

The connection must hand JSON over as text, as those of `storage.lines` do.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from msgspec import Raw

from storage.states import entry_of
from streams.events import Event, Source, run_event
from streams.fold import evolve, new_run
from streams.journal import Entry, EntryType
from streams.state import Run
from streams.statuses import ExecutionStatus

ROWS_AT_ONCE = 500
_UNTOLD: Source = (-1, -1, -1)  # the source of an event that nobody is to publish


@dataclass(frozen=True, slots=True)
class Head:
    """What is left of a run even when its journal was erased."""

    created_at: datetime
    status: ExecutionStatus
    started_at: datetime | None
    ended_at: datetime | None


_HEADS = """
select id, created_at, status, started_at, ended_at
  from graph_execution where id = any ($1::uuid[])
"""


async def load_heads(connection: asyncpg.Connection, run_ids: Iterable[str]) -> dict[str, Head]:
    """The heads of those of `run_ids` that exist, as they are now."""
    rows = await connection.fetch(_HEADS, list(run_ids))
    return {
        str(row["id"]): Head(
            row["created_at"],
            ExecutionStatus(row["status"]),
            row["started_at"],
            row["ended_at"],
        )
        for row in rows
    }


# `run_day` prunes the partitions.
_ENTRIES = """
select j.graph_exec_id, j.seq, j.at, j.command_id, j.type, j.node_exec_id, j.name, j.data,
       j.detail, j.was, j.status
  from journal j
  join unnest($1::uuid[], $2::bigint[]) as x(id, before) on j.graph_exec_id = x.id
 where j.graph_exec_id = any ($1::uuid[]) and j.run_day = any ($3::date[])
   and j.seq < x.before
 order by j.graph_exec_id, j.seq
"""


async def earlier_events(
    connection: asyncpg.Connection, before: Mapping[str, int], heads: Mapping[str, Head]
) -> AsyncIterator[Event]:
    """Events of the runs of `heads` before entry `before[run]`: run by run, each in order.

    None of a run whose journal no longer has its beginning. Their sources are not told.
    """
    ids = list(heads)
    days = list({head.created_at.date() for head in heads.values()})
    run: Run | None = None
    async with connection.transaction(readonly=True):
        rows = connection.cursor(
            _ENTRIES, ids, [before[run_id] for run_id in ids], days, prefetch=ROWS_AT_ONCE
        )
        async for row in rows:
            run_id, entry = str(row["graph_exec_id"]), _whole_entry(row)
            if entry.type is EntryType.GRAPH_CREATED:
                run = new_run(run_id, entry, partition=-1)
            if run is not None and run.id == run_id:
                evolve(run, entry)
                yield run_event(run, entry, _UNTOLD)


def _whole_entry(row: asyncpg.Record) -> Entry:
    entry = entry_of(row)
    if row["data"] is not None:
        entry.data = Raw(row["data"].encode())
    return entry


_INTERFACE_BLOCKS = """
select id, block_type from block
 where block_type in ('INPUT', 'OUTPUT', 'WEBHOOK', 'WEBHOOK_MANUAL')
"""


async def load_interface_blocks(connection: asyncpg.Connection) -> dict[str, str]:
    """Kinds, by id, of the blocks through which runs take something in or give it out."""
    return {row["id"]: row["block_type"] for row in await connection.fetch(_INTERFACE_BLOCKS)}
