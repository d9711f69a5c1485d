"""Reads of the log: journal, refusals and key-value changes in the order of their sources.

One statement reads all of it. Per partition it takes a part of each of the three tables, in the
order of that table's index on the source; columns that a table does not have are null.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from execstream.storage.log.run_states import DAY_OF_RUN
from execstream.streams.events import SourceOffset

Row = Mapping[str, Any]
"""A row of the log."""

Ranges = Mapping[int, tuple[SourceOffset, SourceOffset]]
"""By partition, the first source of a range and the one that ends it."""

ROWS_AT_A_TIME = 100  # of a cursor
# An event may have megabytes, of which a cursor would hold a hundred: values that take more are
# read by themselves. A smaller stored size, which is compressed, spares looking.
MAX_INLINE = 64 * 1024  # bytes of JSON
SURELY_INLINE = 1_900  # bytes as they are stored
OFFSETS_AT_A_TIME = 2_000  # that Postgres sorts together
BYTES_AT_A_TIME = 8 * 1024 * 1024

_SOURCE = """source_partition = x.p and source_offset between x.o and x.until_o
            and (source_offset, source_index) >= (x.o, x.i)
            and (source_offset, source_index) < (x.until_o, x.until_i)"""
_SOURCE_WITHOUT_INDEX = _SOURCE.replace("source_index", "0")


def _is_cut(column: str) -> str:
    return (
        f"coalesce(pg_column_size({column}) > {SURELY_INLINE}"
        f" and octet_length({column}::text) > {MAX_INLINE}, false)"
    )


def _cut(column: str) -> str:
    return f"case when not {_is_cut(column)} then {column} end"


ENTRY_COLUMNS = f"""source_partition, source_offset, source_index, type, at, command_id,
    graph_exec_id, seq, node_exec_id, name, {_cut("data")} as data, {_cut("detail")} as detail,
    {_is_cut("data")} or {_is_cut("detail")} as is_cut, was, status"""
_WHOLE = """
select data, detail from journal
 where source_partition = $1 and source_offset = $2 and source_index = $3
union all
select null, detail from refusal
 where source_partition = $1 and source_offset = $2 and $3 = 0
union all
select data, null from kv_journal
 where source_partition = $1 and source_offset = $2 and $3 = 0
"""
_LOG = """
select log.* from unnest($1::int[], $2::bigint[], $3::int[], $4::bigint[], $5::int[])
    as x(p, o, i, until_o, until_i)
cross join lateral (
    select * from (
        (select {entry_columns},
                null::text as user_id, null::text as key, null::text as command_type,
                null::text as reason
           from journal entry
          where {source} {of_entry}
          order by source_offset, source_index limit $6)
        union all
        (select source_partition, source_offset, 0, 'command.refused', at, command_id,
                graph_exec_id, null, null, null, null, {detail}, {detail_is_cut}, null, null,
                user_id, null, command_type, reason
           from refusal
          where {source_without_index} {of_refusal}
          order by source_offset limit $6)
        union all
        (select source_partition, source_offset, 0, 'kv.changed', at, command_id,
                null, null, node_exec_id, null, {data}, null, {data_is_cut}, null, null,
                user_id, key, null, null
           from kv_journal
          where {source_without_index} {of_key_value}
          order by source_offset limit $6)
    ) everything
    order by source_offset, source_index limit $6
) log
order by source_partition, source_offset, source_index
"""
_NOTHING = "and false"


@dataclass(frozen=True, slots=True)
class Scope:
    """Rows of one user, graph or run, or all rows; the given fields must hold together.

    Refusals name no graph, key-values neither graph nor run. `types` is the beginning of the types
    of events, before the dot; only "graph" is one.
    """

    user_id: str | None = None
    graph_id: str | None = None
    graph_exec_id: str | None = None
    types: str | None = None


EVERYTHING = Scope()


async def read_page(
    connection: asyncpg.Connection,
    ranges: Ranges,
    *,
    limit: int | None = None,
    max_bytes: int = BYTES_AT_A_TIME,
    scope: Scope = EVERYTHING,
) -> tuple[list[Row], bool]:
    """Read rows of `ranges` by partition and source, within a transaction of the caller.

    Args:
        connection: a connection that hands JSON over as text.
        ranges: the ranges to read.
        limit: rows of each partition; None: without a limit.
        max_bytes: reading stops after the row that exceeds it.
        scope: rows to read.

    Returns:
        The rows, and whether reading came to its end rather than to `max_bytes`.
    """
    statement, args = _statement(scope)
    return await read_rows(
        connection, statement, *_columns(ranges), limit, *args, max_bytes=max_bytes
    )


async def read_rows(
    connection: asyncpg.Connection, statement: str, *args: object, max_bytes: int
) -> tuple[list[Row], bool]:
    """Read rows of the log until they exceed `max_bytes`; also return whether these are all.

    `statement` selects ENTRY_COLUMNS of the journal, or all that `_LOG` does.
    """
    rows: list[Row] = []
    size = 0
    async for row in connection.cursor(statement, *args, prefetch=ROWS_AT_A_TIME):
        if size > max_bytes:
            return rows, False
        if row["is_cut"]:
            place = (row["source_partition"], row["source_offset"], row["source_index"])
            row = {**row, **await connection.fetchrow(_WHOLE, *place)}  # noqa: PLW2901 - the same row
        rows.append(row)
        size += len(row["data"] or "") + len(row["detail"] or "")
    return rows, True


async def read_partition(
    connection: asyncpg.Connection, partition: int, end: int
) -> AsyncIterator[list[Row]]:
    """Read all rows of `partition` before offset `end`, some at a time."""
    first = await connection.fetchval(_FIRST, partition)
    position = (end if first is None else first, 0)
    while position < (end, 0):
        until = (min(position[0] + OFFSETS_AT_A_TIME, end), 0)
        rows, is_whole = await read_page(connection, {partition: (position, until)})
        if rows:
            yield rows
        position = until if is_whole else next_source(rows[-1])


_FIRST = """
select least(
    (select min(source_offset) from journal where source_partition = $1),
    (select min(source_offset) from refusal where source_partition = $1),
    (select min(source_offset) from kv_journal where source_partition = $1))
"""


def next_source(row: Row) -> SourceOffset:
    """Return the first source after that of `row`."""
    return row["source_offset"], row["source_index"] + 1


def _statement(scope: Scope) -> tuple[str, list[object]]:
    """The statement for `scope`, and its arguments beyond the six common ones."""
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
    return _LOG.format(
        entry_columns=ENTRY_COLUMNS,
        data=_cut("data"),
        detail=_cut("detail"),
        data_is_cut=_is_cut("data"),
        detail_is_cut=_is_cut("detail"),
        source=_SOURCE,
        source_without_index=_SOURCE_WITHOUT_INDEX,
        of_entry=of_entry,
        of_refusal=_NOTHING if of_graph or scope.types else f"{of_run} {of_user}",
        of_key_value=_NOTHING if of_graph or of_run or scope.types else of_user,
    ), args


def _columns(ranges: Ranges) -> tuple[list[int], ...]:
    begins, ends = [begin for begin, _ in ranges.values()], [end for _, end in ranges.values()]
    return (
        list(ranges),
        [offset for offset, _ in begins],
        [index for _, index in begins],
        [offset for offset, _ in ends],
        [index for _, index in ends],
    )
