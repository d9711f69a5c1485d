"""The missed events of a listener: messages rebuilt from the journal, as the bridge made them."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC

import asyncpg

from execstream.storage.connections import Session
from execstream.storage.log.run_history import (
    HEAD_COLUMNS,
    Head,
    begun,
    head_of,
    load_interface_blocks,
    next_event,
    whole_entry,
)
from execstream.storage.log.run_states import entry_cell
from execstream.storage.querying import Where
from execstream.storage.redis.buses.scope import EVERY, Scope
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.schema.tables import RUNS
from execstream.storage.unreadable_rows import (
    NOT_AS_WRITTEN,
    Cell,
    UnreadableRun,
    note,
    readable,
    reading,
    unreadable_run,
)
from execstream.streams.events import NOWHERE, Source, SourceOffset
from execstream.streams.journal import Entry
from execstream.streams.state import Run

ENTRIES_AT_ONCE = 200

Missed = tuple[str, int, bytes]
"""A run, the number of an event in it, and its message."""

_COMMITTED = """
select partition, max(next_offset + base) as next_source from consumer_offset
 where consumer = 'apply' group by partition order by partition
"""


@dataclass(frozen=True, slots=True)
class _SeqRange:
    """Entries `first` to `last` of a run."""

    run_id: str
    head: Head
    first: int
    last: int


class History:
    """The journal of the runs of `scope`. `session` is its own; its errors are asyncpg's."""

    def __init__(self, session: Session, scope: Scope, max_message_bytes: int) -> None:
        self._session = session
        self._scope = scope
        self._max_message_bytes = max_message_bytes

    async def committed(self) -> dict[int, SourceOffset]:
        """The place, in each partition, before which everything is committed."""
        rows = await (await self._session.get()).fetch(_COMMITTED)
        return {row["partition"]: (row["next_source"], -1) for row in rows}

    def terminate(self) -> None:
        """Postgres may be away: reconnect at the next request."""
        self._session.terminate()

    async def close(self) -> None:
        await self._session.close()

    async def missed(
        self,
        after: Mapping[int, SourceOffset],
        until: Mapping[int, SourceOffset],
        delivered: Mapping[str, int],
    ) -> AsyncGenerator[Missed]:
        """Messages of events with `after` < place < `until`: run by run, each in order.

        For a run in `delivered`, only messages after that event.
        """
        connection = await self._session.get()
        blocks = await load_interface_blocks(connection)
        for partition, end in until.items():
            start = after.get(partition, NOWHERE)
            for seq_range in await self._seq_ranges(connection, partition, start, end):
                first = max(seq_range.first, delivered.get(seq_range.run_id, 0) + 1)
                views = RunViews("", self._max_message_bytes)
                views.block_types = blocks
                try:
                    async for seq, message in _messages(connection, seq_range, first, views):
                        yield seq_range.run_id, seq, message
                except UnreadableRun as error:
                    note(error)  # the messages of other runs follow

    async def _seq_ranges(
        self, connection: asyncpg.Connection, partition: int, start: SourceOffset, end: SourceOffset
    ) -> list[_SeqRange]:
        """Find the entries by the journal's index of sources, or by the runs of the scope when
        these are fewer.
        """
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
            f"""select {HEAD_COLUMNS}, min(entry.seq) as first, max(entry.seq) as last
                  from journal entry join graph_execution run on run.id = entry.graph_exec_id
                 where {where} group by run.id order by min(entry.source_offset)""",
            *where.args,
        )
        return readable(rows, _seq_range)


def _seq_range(row: asyncpg.Record) -> _SeqRange:
    with reading(row["id"], Cell(RUNS.name)):
        return _SeqRange(str(row["id"]), head_of(row), row["first"], row["last"])


_ENTRIES = """
select * from journal
 where graph_exec_id = $1 and run_day = $2 and seq > $3 and seq <= $4
 order by seq limit $5
"""


async def _messages(
    connection: asyncpg.Connection, seq_range: _SeqRange, first: int, views: RunViews
) -> AsyncGenerator[tuple[int, bytes]]:
    """Messages of entries from `first` on; those before it are read too, because a message carries
    the whole state. Where they were erased, a message has only the fields of its event.
    """
    run: Run | None = None
    seq = 0
    while seq < seq_range.last:
        day = seq_range.head.created_at.astimezone(UTC).date()
        rows = await connection.fetch(
            _ENTRIES, seq_range.run_id, day, seq, seq_range.last, ENTRIES_AT_ONCE
        )
        if not rows:  # erased meanwhile
            return
        for row in rows:
            try:
                entry = whole_entry(row)
                run = run or await begun(connection, seq_range.run_id, entry)
                message = _message(run, entry, _source(row), first, seq_range.head, views)
            except NOT_AS_WRITTEN as error:
                raise unreadable_run(seq_range.run_id, error, entry_cell(row)) from error
            if message is not None:
                yield entry.seq, message
        seq = rows[-1]["seq"]


def _message(
    run: Run, entry: Entry, source: Source, first: int, head: Head, views: RunViews
) -> bytes | None:
    """The message of the next entry of `run`, if it is from `first` on."""
    event = next_event(run, entry, source)
    if event is None:
        return None
    if entry.seq > 1 and views.lacks(event):
        views.resume(event, head)
    if entry.seq >= first:
        return views.message_for(event)[1]
    views.replay(event)
    return None


def _source(row: asyncpg.Record) -> Source:
    return (row["source_partition"], row["source_offset"], row["source_index"])
