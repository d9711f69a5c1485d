"""What happened between two positions, read from Postgres in pages of bounded size.

Journal, refusals and key-values, in the order of their sources within a partition. Connections
hand JSON over as text: values go out as they are stored.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from execstream.dashboard.feed.cursor import BEGINNING, Ids, Position, SourceOffset, covers
from execstream.dashboard.feed.scopes import Scope
from execstream.storage.log.events import EventBuilder
from execstream.storage.reads.steps import DAY_OF_RUN
from execstream.storage.schema.migrate import quoted
from execstream.streams.events import Event, encode_event
from execstream.streams.topics import COMMANDS

CONNECTIONS = 4
COMMAND_TIMEOUT = 30  # seconds

ROWS_PER_PARTITION = 500
ROWS_AT_A_TIME = 100  # an event may have megabytes
PAGE_BYTES = 1024 * 1024
# Commands to look through at once for those of a user or graph.
SPAN = 50_000


async def connect(dsn: str, schema: str) -> asyncpg.Pool:
    """Connections that hand JSON over as text."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=CONNECTIONS,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={
            "application_name": "execstream-feed",
            "search_path": quoted(schema),
            "plan_cache_mode": "force_custom_plan",
            "jit": "off",
        },
    )


@dataclass(slots=True)
class FeedEvent:
    """An event, its JSON, and the id of who was told it."""

    event: Event
    json: bytes
    cursor: str


@dataclass(slots=True)
class Page:
    """Events, and the position after them; the last page is followed by what is yet to come."""

    position: Position
    events: list[FeedEvent]
    is_last: bool


_BOUNDARY = """
select partition, next_offset + base as next from consumer_offset
 where consumer = 'apply' and topic = $1
"""


async def boundary(connection: asyncpg.Connection, topic_prefix: str) -> dict[int, SourceOffset]:
    """The position after everything that is committed, as the connection's transaction sees it.

    Offsets move in the transaction that writes what the commands did.
    """
    rows = await connection.fetch(_BOUNDARY, topic_prefix + COMMANDS.name)
    return {row["partition"]: (row["next"], 0) for row in rows}


# Per partition a part of the three tables, each in the order of its index on the source; what a
# table does not have is null.
_SOURCE = """source_partition = x.p and source_offset between x.o and x.until_o
            and (source_offset, source_index) >= (x.o, x.i)
            and (source_offset, source_index) < (x.until_o, x.until_i)"""
_SOURCE_WITHOUT_INDEX = _SOURCE.replace("source_index", "0")
_EVENTS = """
select told.* from unnest($1::int[], $2::bigint[], $3::int[], $4::bigint[], $5::int[])
    as x(p, o, i, until_o, until_i)
cross join lateral (
    select * from (
        (select source_partition, source_offset, source_index, type, at, command_id, graph_exec_id,
                seq, node_exec_id, name, data, detail, was, status,
                null::text as user_id, null::text as key, null::text as command_type,
                null::text as reason
           from journal entry
          where {source} {of_entry}
          order by source_offset, source_index limit $6)
        union all
        (select source_partition, source_offset, 0, 'command.refused', at, command_id,
                graph_exec_id, null, null, null, null, detail, null, null,
                user_id, null, command_type, reason
           from refusal
          where {source_without_index} {of_refusal}
          order by source_offset limit $6)
        union all
        (select source_partition, source_offset, 0, 'kv.changed', at, command_id,
                null, null, node_exec_id, null, data, null, null, null,
                user_id, key, null, null
           from kv_journal
          where {source_without_index} {of_key_value}
          order by source_offset limit $6)
    ) everything
    order by source_offset, source_index limit $6
) told
order by source_partition, source_offset, source_index
"""
_NOTHING = "and false"


def _statement(scope: Scope) -> tuple[str, list[object]]:
    """The statement for `scope`, and its arguments beyond those that all have."""
    args: list[object] = []

    def condition(text: str, value: object) -> str:
        if value is None:
            return ""
        args.append(value)
        return f"and {text} = ${6 + len(args)}"

    of_run = condition("graph_exec_id", scope.graph_exec_id)
    of_user = condition("user_id", scope.user_id)
    of_graph = condition("graph_id", scope.graph_id)
    of_entry = of_run
    if of_run:
        of_entry += f" and run_day = {DAY_OF_RUN.format('$7')}"
    if of_user or of_graph:
        of_entry += f""" and exists (
            select from graph_execution run where run.id = entry.graph_exec_id {of_user} {of_graph}
        )"""
    if scope.types:
        of_entry += " and starts_with(type, 'graph.')"
    return _EVENTS.format(
        source=_SOURCE,
        source_without_index=_SOURCE_WITHOUT_INDEX,
        of_entry=of_entry,
        of_refusal=_NOTHING if of_graph or scope.types else f"{of_run} {of_user}",
        of_key_value=_NOTHING if of_graph or of_run or scope.types else of_user,
    ), args


_ENTRIES = f"""
select * from journal
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
        """What happened in `scope` from `after` up to `until`, which covers it, page by page."""
        event_builder = EventBuilder()
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
        """What happened to a run after an entry: so many events at most, fewer if they are large,
        and none only when there are none."""
        async with self._snapshot() as connection:
            rows, _ = await _read(connection, _ENTRIES, graph_exec_id, after_seq, limit)
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
        spans = _spans(scope, after, until)
        statement, args = _statement(scope)
        rows, is_whole = await _read(
            connection, statement, *_columns(spans), ROWS_PER_PARTITION, *args
        )
        events = _feed_events(after, await event_builder.events(connection, rows))
        position = dict(after) | _reached(spans, rows, is_whole=is_whole)
        return Page(position, events, covers(position, until))


def _feed_events(after: Position, events: list[Event]) -> list[FeedEvent]:
    ids, feed_events = Ids(after), []
    for event in events:
        number, offset, index = event.source
        ids.move(number, (offset, index + 1))
        feed_events.append(FeedEvent(event, encode_event(event), ids.text))
    return feed_events


_Spans = dict[int, tuple[SourceOffset, SourceOffset]]


def _spans(scope: Scope, after: Position, until: Position) -> _Spans:
    """From where to where a page looks, by partition."""
    spans = {}
    is_scattered = scope.graph_exec_id is None and scope != Scope()
    for number, end in sorted(until.items()):
        begin = after.get(number, BEGINNING)
        if begin < end:
            far = (begin[0] + SPAN, 0) if is_scattered else end
            spans[number] = (begin, min(end, far))
    return spans


def _columns(spans: _Spans) -> tuple[list[int], ...]:
    begins, ends = [begin for begin, _ in spans.values()], [end for _, end in spans.values()]
    return (
        list(spans),
        [offset for offset, _ in begins],
        [index for _, index in begins],
        [offset for offset, _ in ends],
        [index for _, index in ends],
    )


async def _read(
    connection: asyncpg.Connection, statement: str, *args: object
) -> tuple[list[asyncpg.Record], bool]:
    """Rows until they are many bytes; and whether these are all."""
    rows: list[asyncpg.Record] = []
    size = 0
    async for row in connection.cursor(statement, *args, prefetch=ROWS_AT_A_TIME):
        if size > PAGE_BYTES:
            return rows, False
        rows.append(row)
        size += len(row["data"] or "") + len(row["detail"] or "")
    return rows, True


def _reached(
    spans: _Spans, rows: list[asyncpg.Record], *, is_whole: bool
) -> dict[int, SourceOffset]:
    """How far `rows`, which come by partition, tell what happened in `spans`."""
    counts = Counter(row["source_partition"] for row in rows)
    lasts = {
        row["source_partition"]: (row["source_offset"], row["source_index"] + 1) for row in rows
    }
    stopped_in = None if is_whole else rows[-1]["source_partition"]
    reached = {}
    for number, (_, end) in spans.items():
        if stopped_in is not None and number > stopped_in:
            break
        is_cut = number == stopped_in or counts[number] == ROWS_PER_PARTITION
        reached[number] = lasts[number] if is_cut else end
    return reached
