"""Events of runs from the journal, up to a given event, for consumers that have to catch up.

The connection must hand JSON over as text, as those of `execstream.storage.lines` do.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from msgspec import Raw

from execstream.storage.log.run_states import (
    Unreadable,
    entry_cell,
    entry_of,
    load_runs,
    refuse,
)
from execstream.storage.schema.tables import RUNS
from execstream.storage.unreadable_rows import (
    NOT_AS_WRITTEN,
    Cell,
    UnreadableRun,
    unreadable_run,
)
from execstream.streams.events import Event, Source, run_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.journal import Entry, EntryType
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus

ROWS_AT_ONCE = 100  # of a cursor: an entry may have megabytes
_UNRECORDED: Source = (-1, -1, -1)  # the source of an event that is not to be published


@dataclass(frozen=True, slots=True)
class Head:
    """A run's row: all that is left when its journal was trimmed, or erased and the rest of the
    row with it."""

    created_at: datetime
    status: ExecutionStatus
    started_at: datetime | None
    ended_at: datetime | None
    inputs: Raw | None = None
    credential_inputs: Raw | None = None
    nodes_input_masks: Raw | None = None
    preset_id: str | None = None
    is_shared: bool = False
    stats: Raw | None = None  # in the names they are stored by


HEAD_COLUMNS = """run.id, run.created_at, run.status, run.started_at, run.ended_at, run.inputs,
    run.credential_inputs, run.nodes_input_masks, run.preset_id, run.is_shared, run.stats"""
_HEADS = f"select {HEAD_COLUMNS} from graph_execution run where id = any ($1::uuid[])"


async def load_heads(
    connection: asyncpg.Connection, run_ids: Iterable[str], unreadable: Unreadable = refuse
) -> dict[str, Head]:
    """The heads of those of `run_ids` that exist, as they are now."""
    heads = {}
    for row in await connection.fetch(_HEADS, list(run_ids)):
        try:
            heads[str(row["id"])] = head_of(row)
        except NOT_AS_WRITTEN as error:
            unreadable(unreadable_run(str(row["id"]), error, Cell(RUNS.name)))
    return heads


def head_of(row: asyncpg.Record) -> Head:
    """The head in a row of `HEAD_COLUMNS`."""
    return Head(
        row["created_at"],
        ExecutionStatus(row["status"]),
        row["started_at"],
        row["ended_at"],
        _raw(row["inputs"]),
        _raw(row["credential_inputs"]),
        _raw(row["nodes_input_masks"]),
        row["preset_id"],
        row["is_shared"],
        _raw(row["stats"]),
    )


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
    connection: asyncpg.Connection,
    before: Mapping[str, int],
    heads: Mapping[str, Head],
    unreadable: Unreadable = refuse,
) -> AsyncIterator[Event]:
    """Events of the runs of `heads` before entry `before[run]`: run by run, each in order.

    For a run whose journal has lost its beginning, only events of steps whose beginning it has.
    Their sources are not set. `unreadable` is called for a run that cannot be read; if that
    returns, its later events are left out.
    """
    ids = list(heads)
    days = list({head.created_at.date() for head in heads.values()})
    run: Run | None = None
    broken: str | None = None
    async with connection.transaction(readonly=True):
        rows = connection.cursor(
            _ENTRIES, ids, [before[run_id] for run_id in ids], days, prefetch=ROWS_AT_ONCE
        )
        async for row in rows:
            run_id = str(row["graph_exec_id"])
            if run_id == broken:
                continue
            try:
                entry = whole_entry(row)
                if run is None or run.id != run_id:
                    run = await begun(connection, run_id, entry)
                event = next_event(run, entry, _UNRECORDED)
            except (*NOT_AS_WRITTEN, UnreadableRun) as error:
                broken = run_id
                unreadable(unreadable_run(run_id, error, entry_cell(row)))
                continue
            if event is not None:
                yield event


async def begun(connection: asyncpg.Connection, run_id: str, first: Entry) -> Run:
    """The run before `first`, the first entry that its journal has."""
    if first.type is EntryType.GRAPH_CREATED:
        return new_run(run_id, first, partition=-1)  # which no event contains
    return (await load_runs(connection, [run_id], {run_id: first.seq}))[run_id]


def next_event(run: Run, entry: Entry, source: Source) -> Event | None:
    """Let `run` evolve by its next entry; return the event of that, or None for an entry of a step
    whose beginning is gone.
    """
    step_id = entry.node_exec_id
    if step_id is None or step_id in run.steps or entry.type is EntryType.NODE_ADDED:
        evolve(run, entry)
        return run_event(run, entry, source)
    return None


def whole_entry(row: asyncpg.Record) -> Entry:
    """A row of the journal, with its value."""
    entry = entry_of(row)
    entry.data = _raw(row["data"])
    return entry


def _raw(text: str | None) -> Raw | None:
    return None if text is None else Raw(text.encode())


_INTERFACE_BLOCKS = """
select id, block_type from block
 where block_type in ('INPUT', 'OUTPUT', 'WEBHOOK', 'WEBHOOK_MANUAL')
"""


async def load_interface_blocks(connection: asyncpg.Connection) -> dict[str, str]:
    """Kinds, by id, of the blocks through which runs take something in or give it out."""
    return {row["id"]: row["block_type"] for row in await connection.fetch(_INTERFACE_BLOCKS)}
