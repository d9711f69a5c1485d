"""Values that no commit writes, planted into stored rows: each column by its kind, one at a time.

Columns come from the registry of tables and from Postgres' own catalogue, so that a new one is
planted without a word here.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import zip_longest
from typing import NamedTuple

import asyncpg

from execstream.storage.schema.tables import TABLES, Table
from tests.exploring import IS_LONG

DEEP = "[" * 128 + "]" * 128
LARGE = 40_000_000  # characters
# Expressions of SQL by type of column; all are values that the column takes.
VALUES = {
    "jsonb": (
        *("'null'::jsonb", "'[]'::jsonb", "'\"text\"'::jsonb", "'1e131071'::jsonb"),
        *('\'{"stats": 1, "node_id": 1, "is_shared": null, "a": 1e131071}\'::jsonb',),
        *('\'{"error": {}, "cost": 1e131071, "walltime": 1e-16383}\'::jsonb', f"'{DEEP}'::jsonb"),
    ),
    "text": ("'UNKNOWN'",),
    "timestamp with time zone": ("'9999-12-31 23:59:59.999999+00'::timestamptz",),
    "date": ("'9999-12-31'::date",),
}
# Values of 40 MB, which are stored compressed.
LARGE_VALUES = {
    "jsonb": (f"to_jsonb(repeat('x', {LARGE}))", f"jsonb_build_object('a', repeat('x', {LARGE}))"),
    "text": (f"repeat('x', {LARGE})",),
}
_COLUMNS = """
select column_name as name, data_type as type, is_nullable = 'YES' as is_nullable
  from information_schema.columns
 where table_schema = current_schema() and table_name = $1 order by ordinal_position
"""


class Plant(NamedTuple):
    """A value for a column of a table, as SQL."""

    table: Table
    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.table.name}.{self.column} = {self.value[:60]}"


async def plants(db: asyncpg.Pool, values: dict[str, tuple[str, ...]] = VALUES) -> list[Plant]:
    """One of the values of each column, NULL among them; in the long form of the tests, all."""
    found = []
    for table in TABLES:
        for number, row in enumerate(await db.fetch(_COLUMNS, table.name)):
            several = list(_values(row, values))
            chosen = several if IS_LONG else several[number % len(several) :][:1] if several else []
            found += [Plant(table, row["name"], value) for value in chosen]
    return found


async def columns_of_tables(db: asyncpg.Pool) -> dict[str, set[str]]:
    """Names of the columns of each table."""
    return {
        table.name: {row["name"] for row in await db.fetch(_COLUMNS, table.name)}
        for table in TABLES
    }


def _values(row: asyncpg.Record, values: dict[str, tuple[str, ...]]) -> Iterator[str]:
    if row["is_nullable"] and values is VALUES:
        yield "null"
    yield from values.get(row["type"], ())


def rounds(everything: Iterable[Plant]) -> list[list[Plant]]:
    """Plants of different tables together, which takes a tenth of the time."""
    by_table: dict[Table, list[Plant]] = {}
    for plant in everything:
        by_table.setdefault(plant.table, []).append(plant)
    return [[one for one in some if one] for some in zip_longest(*by_table.values())]


@asynccontextmanager
async def planted(
    db: asyncpg.Pool, some: Sequence[tuple[Plant, str]]
) -> AsyncIterator[list[Plant]]:
    """Have the values of `some` in the rows of their conditions; afterwards all rows are as they
    were. Those that Postgres does not take there are left out."""
    names = [plant.table.name for plant, _ in some]
    for name in names:
        await db.execute(f"create table planted_{name} as select * from {name}")
    try:
        yield [plant for plant, where in some if await _plant(db, plant, where)]
    finally:
        async with db.acquire() as connection, connection.transaction():
            await connection.execute("set constraints all deferred")
            for name in reversed(names):  # a row refers to one of an earlier table
                await connection.execute(f"delete from {name}")
            for name in names:
                await connection.execute(
                    f"insert into {name} overriding system value select * from planted_{name}"
                )
                await connection.execute(f"drop table planted_{name}")


async def _plant(db: asyncpg.Pool, plant: Plant, where: str) -> bool:
    statement = f"update {plant.table.name} set {plant.column} = {plant.value} where {where}"
    try:
        return str(await db.execute(statement)) != "UPDATE 0"
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError):
        return False  # an index takes no text of this size, or the row is there already
