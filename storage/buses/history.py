"""What a listener missed: messages made again from the journal, as the bridge made them."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC

import asyncpg
from msgspec import Raw

from storage.buses.scope import EVERY, Scope
from storage.lines import Line
from storage.messages.views import RunViews
from storage.reads.querying import Where
from storage.run_history import Head, load_interface_blocks
from storage.states import entry_of, load_runs
from streams.events import NOWHERE, Source, run_event
from streams.fold import evolve, new_run
from streams.journal import Entry, EntryType
from streams.state import Run
from streams.statuses import ExecutionStatus

ENTRIES_AT_ONCE = 200

Place = tuple[int, int]
"""Offset and index of a source."""

Missed = tuple[str, int, bytes]
"""A run, the number of an event in it, and its message."""

_COMMITTED = """
select partition, max(next_offset + base) as next_source from consumer_offset
 where consumer = 'apply' group by partition order by partition
"""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Entries `first` to `last` of a run."""

    run_id: str
    head: Head
    first: int
    last: int


class History:
    """The journal of the runs of `scope`. `line` is its own; its errors are asyncpg's."""

    def __init__(self, line: Line, scope: Scope, max_message_bytes: int) -> None:
        self._line = line
        self._scope = scope
        self._max_message_bytes = max_message_bytes

    async def committed(self) -> dict[int, Place]:
        """The place, in each partition, before which everything is committed."""
        rows = await (await self._line.get()).fetch(_COMMITTED)
        return {row["partition"]: (row["next_source"], -1) for row in rows}

    def hang_up(self) -> None:
        """Postgres may be away: connect anew when it is asked next."""
        self._line.hang_up()

    async def close(self) -> None:
        await self._line.close()

    async def missed(
        self, after: Mapping[int, Place], until: Mapping[int, Place], told: Mapping[str, int]
    ) -> AsyncGenerator[Missed]:
        """Messages of events with `after` < place < `until`: run by run, each in order.

        Of a run in `told` only what comes after that event.
        """
        connection = await self._line.get()
        blocks = await load_interface_blocks(connection)
        for partition, end in until.items():
            start = after.get(partition, NOWHERE)
            for stretch in await self._stretches(connection, partition, start, end):
                first = max(stretch.first, told.get(stretch.run_id, 0) + 1)
                views = RunViews("", self._max_message_bytes)
                views.block_types = blocks
                async for seq, message in _messages(connection, stretch, first, views):
                    yield stretch.run_id, seq, message

    async def _stretches(
        self, connection: asyncpg.Connection, partition: int, start: Place, end: Place
    ) -> list[_Stretch]:
        """By the journal's index of sources, or by the runs of the scope when these are fewer."""
        where = Where("entry.run_day = (run.created_at at time zone 'UTC')::date")
        where.add("entry.source_partition = {}", partition)
        where.add("entry.source_offset >= {}", start[0])
        where.add(
            f"(entry.source_offset, entry.source_index) > ({where.arg(start[0])}, {{}})", start[1]
        )
        where.add("entry.source_offset < {}", end[0])
        scope = self._scope
        where.add("run.user_id = {}", None if scope.user_id == EVERY else scope.user_id)
        where.add("run.graph_id = {}", None if scope.graph_id == EVERY else scope.graph_id)
        where.add_id("run.id = {}", None if scope.graph_exec_id == EVERY else scope.graph_exec_id)
        rows = await connection.fetch(
            f"""select run.id, run.created_at, run.status, run.started_at, run.ended_at,
                       min(entry.seq) as first, max(entry.seq) as last
                  from journal entry join graph_execution run on run.id = entry.graph_exec_id
                 where {where} group by run.id order by min(entry.source_offset)""",
            *where.args,
        )
        return [
            _Stretch(str(row["id"]), _head(row), first=row["first"], last=row["last"])
            for row in rows
        ]


_ENTRIES = """
select * from journal
 where graph_exec_id = $1 and run_day = $2 and seq > $3 and seq <= $4
 order by seq limit $5
"""


async def _messages(
    connection: asyncpg.Connection, stretch: _Stretch, first: int, views: RunViews
) -> AsyncGenerator[tuple[int, bytes]]:
    """Messages of entries from `first` on; those before it are read too, for they are told with
    the whole state. Where they were erased, a message tells what its event tells."""
    run: Run | None = None
    seq = 0
    while seq < stretch.last:
        day = stretch.head.created_at.astimezone(UTC).date()
        rows = await connection.fetch(
            _ENTRIES, stretch.run_id, day, seq, stretch.last, ENTRIES_AT_ONCE
        )
        if not rows:  # erased meanwhile
            return
        for row in rows:
            entry = _entry(row)
            run = run or await _begun(connection, stretch.run_id, entry, row["source_partition"])
            if not _is_known(run, entry):
                continue
            evolve(run, entry)
            event = run_event(run, entry, _source(row))
            if entry.seq < first:
                views.replay(event)
                continue
            if entry.seq > 1 and views.lacks(event):
                views.resume(event, stretch.head)
            yield entry.seq, views.message_for(event)[1]
        seq = rows[-1]["seq"]


async def _begun(connection: asyncpg.Connection, run_id: str, first: Entry, partition: int) -> Run:
    """The run before `first`, the first entry that its journal has."""
    if first.type is EntryType.GRAPH_CREATED:
        return new_run(run_id, first, partition)
    return (await load_runs(connection, [run_id], {run_id: first.seq}))[run_id]


def _is_known(run: Run, entry: Entry) -> bool:
    """False for an entry of a step whose beginning was erased."""
    step_id = entry.node_exec_id
    return step_id is None or step_id in run.steps or entry.type is EntryType.NODE_ADDED


def _entry(row: asyncpg.Record) -> Entry:
    entry = entry_of(row)
    if row["data"] is not None:
        entry.data = Raw(row["data"].encode())
    return entry


def _source(row: asyncpg.Record) -> Source:
    return (row["source_partition"], row["source_offset"], row["source_index"])


def _head(row: asyncpg.Record) -> Head:
    status = ExecutionStatus(row["status"])
    return Head(row["created_at"], status, row["started_at"], row["ended_at"])
