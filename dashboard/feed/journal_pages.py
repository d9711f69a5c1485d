"""Events between two positions, read from Postgres in pages of bounded size.

Journal, refusals and key-values, in the order of their sources within a partition. Connections
hand JSON over as text: values go out as they are stored.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from execstream.dashboard.feed.cursor import BEGINNING, Ids, Position, covers
from execstream.dashboard.foreign_runs import hides_owner, shown_event
from execstream.storage.log.events import EventBuilder
from execstream.storage.log.reader import (
    ENTRY_COLUMNS,
    Ranges,
    Row,
    Scope,
    next_source,
    read_page,
    read_rows,
)
from execstream.storage.log.run_states import DAY_OF_RUN
from execstream.storage.unreadable_rows import note
from execstream.streams.events import Event, SourceOffset, encode_event
from execstream.streams.topics import COMMANDS

CONNECTIONS = 4

ROWS_PER_PARTITION = 500
PAGE_BYTES = 1024 * 1024
# Commands to look through at once for those of a user or graph.
SPAN = 50_000


@dataclass(slots=True)
class FeedEvent:
    """An event, its JSON, and the cursor of a subscriber that has received it."""

    event: Event
    json: bytes
    cursor: str

    def json_for(self, scope: Scope) -> bytes:
        """The JSON that streams of `scope` get, which is mostly `json` itself."""
        if scope.user_id is not None and hides_owner(self.event):
            return encode_event(shown_event(self.event))
        return self.json


@dataclass(slots=True)
class Page:
    """Events, and the position after them; after the last page, only later events follow."""

    position: Position
    events: list[FeedEvent]
    is_last: bool


_BOUNDARY = """
select partition, next_offset + base as next from consumer_offset
 where consumer = 'apply' and topic = $1
"""


async def boundary(connection: asyncpg.Connection, topic_prefix: str) -> dict[int, SourceOffset]:
    """The position after everything that is committed, as the connection's transaction sees it.

    Offsets move in the transaction that writes the effects of the commands.
    """
    rows = await connection.fetch(_BOUNDARY, topic_prefix + COMMANDS.name)
    return {row["partition"]: (row["next"], 0) for row in rows}


_ENTRIES = f"""
select {ENTRY_COLUMNS} from journal
 where graph_exec_id = $1 and run_day = {DAY_OF_RUN.format("$1")} and seq > $2
 order by seq limit $3
"""


class Journal:
    """Reads pages."""

    def __init__(self, pool: asyncpg.Pool, topic_prefix: str) -> None:
        self._pool = pool
        self._topic_prefix = topic_prefix

    async def committed(self) -> Position:
        """The position after everything that is committed."""
        return await boundary(self._pool, self._topic_prefix)

    async def pages(self, scope: Scope, after: Position, until: Position) -> AsyncIterator[Page]:
        """Events in `scope` from `after` up to `until`, which covers it, page by page. Runs that
        cannot be read are left out.
        """
        event_builder = EventBuilder(note)
        while not covers(after, until):
            async with self._snapshot() as connection:
                page = await self._page(connection, scope, after, until, event_builder)
            yield page
            after = page.position

    async def read_after(self, after: Position, event_builder: EventBuilder) -> Page:
        """The next page of all that happened since `after`."""
        async with self._snapshot() as connection:
            until = await boundary(connection, self._topic_prefix)
            return await self._page(connection, Scope(), after, until, event_builder)

    async def entries(self, graph_exec_id: str, after_seq: int, limit: int) -> list[Event]:
        """Events of a run after an entry: at most `limit`, fewer if they are large, and none only
        when there are none.
        """
        async with self._snapshot() as connection:
            rows, _ = await read_rows(
                connection, _ENTRIES, graph_exec_id, after_seq, limit, max_bytes=PAGE_BYTES
            )
            return await EventBuilder().events(connection, rows)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _page(
        self,
        connection: asyncpg.Connection,
        scope: Scope,
        after: Position,
        until: Position,
        event_builder: EventBuilder,
    ) -> Page:
        ranges = _ranges(scope, after, until)
        rows, is_whole = await read_page(
            connection, ranges, limit=ROWS_PER_PARTITION, max_bytes=PAGE_BYTES, scope=scope
        )
        events = _feed_events(after, await event_builder.events(connection, rows))
        position = dict(after) | _reached(ranges, rows, is_whole=is_whole)
        return Page(position, events, covers(position, until))


def _feed_events(after: Position, events: list[Event]) -> list[FeedEvent]:
    ids, feed_events = Ids(after), []
    for event in events:
        number, offset, index = event.source
        ids.move(number, (offset, index + 1))
        feed_events.append(FeedEvent(event, encode_event(event), ids.text))
    return feed_events


def _ranges(scope: Scope, after: Position, until: Position) -> Ranges:
    """The range that a page reads in each partition."""
    ranges = {}
    is_scattered = scope.graph_exec_id is None and scope != Scope()
    for number, end in sorted(until.items()):
        begin = after.get(number, BEGINNING)
        if begin < end:
            far = (begin[0] + SPAN, 0) if is_scattered else end
            ranges[number] = (begin, min(end, far))
    return ranges


def _reached(ranges: Ranges, rows: list[Row], *, is_whole: bool) -> dict[int, SourceOffset]:
    """The positions up to which `rows`, which come by partition, cover the events in `ranges`."""
    counts = Counter(row["source_partition"] for row in rows)
    lasts = {row["source_partition"]: next_source(row) for row in rows}
    stopped_in = None if is_whole else rows[-1]["source_partition"]
    reached = {}
    for number, (_, end) in ranges.items():
        if stopped_in is not None and number > stopped_in:
            break
        is_cut = number == stopped_in or counts[number] == ROWS_PER_PARTITION
        reached[number] = lasts[number] if is_cut else end
    return reached
