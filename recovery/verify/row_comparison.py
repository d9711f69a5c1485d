"""Reads for verification: one snapshot, in bounded pieces, and comparison of rows with rows.

Rows that are expected go to Postgres as composite arrays, as at a commit, and are compared there:
both sides then have the same spelling of JSON, numbers and times.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from execstream.storage.commit.write_set import Row
from execstream.storage.connections import quoted
from execstream.storage.log.run_history import ROWS_AT_ONCE
from execstream.storage.schema.day_partitions import own_days
from execstream.storage.schema.tables import KEY_VALUES, STEPS, Table
from execstream.streams import exact_json

MOST_DIFFERING = 10_000  # rows of one comparison

_as_columns = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Differing(NamedTuple):
    """A row that is not as expected: columns as JSON; None: there is no such row."""

    table: Table
    expected: dict[str, msgspec.Raw] | None
    found: dict[str, msgspec.Raw] | None

    def value(self, column: str) -> Any:
        """The value of a column that is equal on both sides, such as the key's."""
        row = self.expected if self.expected is not None else self.found
        return exact_json.decode(bytes((row or {})[column]))

    def values(self, column: str) -> set[Any]:
        """The values of a column in which the sides may differ."""
        return {exact_json.decode(bytes(row[column])) for row in (self.expected, self.found) if row}

    def cells(self) -> list[tuple[str, Any, Any]]:
        """Column, expected and found value of each cell; `*` for a row on one side only."""
        if self.expected is None or self.found is None:
            there, missing = {"row": "there"}, {"row": "missing"}
            sides = (missing, there) if self.expected is None else (there, missing)
            return [("*", sides[0]["row"], sides[1]["row"])]
        cells: list[tuple[str, Any, Any]] = [
            (column, exact_json.decode(bytes(value)), exact_json.decode(bytes(self.found[column])))
            for column, value in self.expected.items()
            if bytes(value) != bytes(self.found[column])
        ]
        # A JSON null and the absence of a value are the same in a row as JSON.
        return cells or [("*", "there", "there with another null")]

    def lines(self) -> list[str]:
        """One line per cell, with the table and the key."""
        place = "/".join(str(self.value(name)) for name in self.table.key)
        return [
            f"{self.table.name} {place}: {column} is {found!r}, expected {expected!r}"
            for column, expected, found in self.cells()
        ]


async def compare(
    connection: asyncpg.Connection, table: Table, rows: Sequence[Row], where: str, *args: object
) -> list[Differing]:
    """`rows` (in column order) against those of `table` for which `where` holds; `args` are $2 and
    so on."""
    columns = ", ".join(
        f"{f'null::{kind}' if name in table.left_out else table.compared(name)} as {quoted(name)}"
        for name, kind in await columns_of(connection, table.name)
    )
    expected = f"(select {columns} from unnest($1::{table.name}[]) t)"
    found = f"(select {columns} from {table.name} t where {where})"
    return await differing(connection, table, expected, found, [list(rows), *args])


async def differing(
    connection: asyncpg.Connection,
    table: Table,
    expected: str,
    found: str,
    args: Sequence[object] = (),
) -> list[Differing]:
    """Rows that are not the same in `expected` and `found`, both SQL."""
    on = " and ".join(f'e."{name}" = f."{name}"' for name in table.key)
    rows = await connection.fetch(
        f"""select to_jsonb(e) as expected, to_jsonb(f) as found
              from {expected} e full join {found} f on {on}
             where e::text is distinct from f::text limit {MOST_DIFFERING}""",
        *args,
    )
    return [Differing(table, _side(row["expected"]), _side(row["found"])) for row in rows]


def _side(json: str | None) -> dict[str, msgspec.Raw] | None:
    return None if json is None else _as_columns(json)


_COLUMNS = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
 where attrelid = to_regclass($1) and attnum > 0 and not attisdropped order by attnum
"""


async def columns_of(connection: asyncpg.Connection, table: str) -> list[tuple[str, str]]:
    """Names and types of the columns of `table`, in order."""
    return [tuple(row) for row in await connection.fetch(_COLUMNS, table)]


# ---- journals ------------------------------------------------------------------------------

# Without values, which no fold needs; `has_data` shows that there is one. `is_closing`: the entry
# that stays of a run that was erased.
_ENTRY = """
graph_exec_id, seq, run_day, at, command_id, type, node_exec_id, name, detail, was, status,
source_partition, source_offset, source_index, data is not null as has_data,
type = 'graph.deleted' and (detail ->> 'hard') is not distinct from 'true' as is_closing
"""
# A day is read through its parent: partitions have no grants of their own.
_OF_DAY = f"select {_ENTRY} from journal where run_day = $1 order by graph_exec_id, seq"
_OF_OTHER_DAYS = f"select {_ENTRY} from journal_other order by graph_exec_id, seq"


async def all_entries(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Record]:
    """The whole journal without values, day by day, run by run, by `seq`."""
    days = await own_days(connection, await connection.fetchval("select current_schema()"))
    cursors = [(_OF_DAY, (day,)) for day in sorted(days)]
    for statement, args in (*cursors, (_OF_OTHER_DAYS, ())):
        async for entry in connection.cursor(statement, *args, prefetch=ROWS_AT_ONCE):
            yield entry


async def entries_of(
    connection: asyncpg.Connection, run_ids: Collection[str]
) -> AsyncIterator[asyncpg.Record]:
    """The journals of some runs without values, run by run, by `seq`."""
    statement = f"""select {_ENTRY} from journal where graph_exec_id = any($1::uuid[])
                     order by graph_exec_id, seq"""
    async for entry in connection.cursor(statement, list(run_ids), prefetch=ROWS_AT_ONCE):
        yield entry


async def heads(
    connection: asyncpg.Connection, run_ids: Collection[str]
) -> dict[str, asyncpg.Record]:
    """Rows of `graph_execution` by id."""
    rows = await connection.fetch(
        "select * from graph_execution where id = any($1::uuid[])", list(run_ids)
    )
    return {str(row["id"]): row for row in rows}


async def count_runs(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("select count(*) from graph_execution"))


async def some_runs(connection: asyncpg.Connection, number: int) -> list[str]:
    """Ids of so many runs, chosen by chance."""
    rows = await connection.fetch(
        "select id from graph_execution order by random() limit $1", number
    )
    return [str(row["id"]) for row in rows]


_UNRECORDED = """
  from graph_execution g
 where not exists (select from journal j where j.graph_exec_id = g.id)
   and ($1::uuid[] is null or id = any($1))
"""
_STRAY_STEPS = """
select to_jsonb(n) as step,
       n.id in (select node_exec_id from journal where node_exec_id is not null) as is_told
  from node_execution n
 where not exists (select from graph_execution g where g.id = n.graph_exec_id)
   and not exists (select from journal j where j.graph_exec_id = n.graph_exec_id)
 limit $1
"""


async def count_trimmed(
    connection: asyncpg.Connection, run_ids: Collection[str] | None = None
) -> int:
    """Count the runs whose journal retention dropped; of all runs or of `run_ids`."""
    ids = None if run_ids is None else list(run_ids)
    statement = f"select count(*) {_UNRECORDED} and trimmed_at is not null"
    return int(await connection.fetchval(statement, ids))


async def runs_without_journal(
    connection: asyncpg.Connection, run_ids: Collection[str] | None = None
) -> list[str]:
    """Ids of runs without a journal and without `trimmed_at`; of all runs or of `run_ids`."""
    ids = None if run_ids is None else list(run_ids)
    rows = await connection.fetch(f"select id {_UNRECORDED} and trimmed_at is null", ids)
    return [str(row["id"]) for row in rows]


async def stray_steps(connection: asyncpg.Connection) -> list[tuple[Differing, bool]]:
    """Steps of runs without any other row, and whether a journal has a step of that id."""
    rows = await connection.fetch(_STRAY_STEPS, MOST_DIFFERING)
    return [(Differing(STEPS, None, _side(row["step"])), row["is_told"]) for row in rows]


# ---- key-values ----------------------------------------------------------------------------

# As `commit_commands` folds them: the newest `at` wins, of equal ones the last.
_NEWEST = """
(select distinct on (user_id, key) user_id, key, node_exec_id, data, at as updated_at
   from kv_journal {where}
  order by user_id, key, at desc, source_offset desc)
"""


async def differing_key_values(connection: asyncpg.Connection) -> list[Differing]:
    """Key-values that are not the fold of their journal."""
    return await differing(connection, KEY_VALUES, _NEWEST.format(where=""), "kv_data")


async def key_values_count(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("select count(*) from kv_data"))
