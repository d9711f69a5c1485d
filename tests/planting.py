"""Values that no commit writes, planted into stored rows: each column by its kind, one at a time.

Columns come from the registry of tables and from Postgres' own catalogue, so that a new one is
planted without a word here.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

import asyncpg

from execstream.storage.reads.share_tokens import hash_share_token
from execstream.storage.schema.tables import TABLES, Table
from tests.orders import Orders

DEEP = "[" * 128 + "]" * 128
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
# Beyond all that a command can bring.
LARGE = 40_000_000  # characters
LARGE_VALUES = {
    "jsonb": f"jsonb_build_object('error', repeat('x', {LARGE}))",
    "text": f"repeat('x', {LARGE})",
}
_COLUMNS = """
select column_name as name, data_type as type, is_nullable = 'YES' as is_nullable
  from information_schema.columns
 where table_schema = current_schema() and table_name = $1 order by ordinal_position
"""

HEALTHY, BROKEN = "healthy", "broken"  # users
TOKEN = "a-token-that-nobody-guesses"  # noqa: S105 - of the tests only
OWNER_COLUMNS = ("graph_exec_id", "user_id", "block_id", "graph_id")
# Tables without a column that names the owner: the column that names the row.
NAMES = {"graph_execution": "id", "block": "id", "graph": "id", "dead_letter": "id"}


def life(orders: Orders) -> Iterator[Any]:
    """A run with everything that a run can have."""
    graph = {"graph_id": f"graph-{orders.user_id}", "inputs": {"a": 1}}
    masks = {"nodes_input_masks": {"a": {"in": 1}}, "preset_id": "preset", "attributes": {"a": "b"}}
    credentials = {"credential_inputs": {"a": {"id": "1", "provider": "p", "type": "api_key"}}}
    block = {"block_id": f"block-{orders.user_id}"}
    yield orders.create(
        orders.node("a", inputs={"name": "n"}, **block), **graph, **masks, **credentials
    )
    yield orders.start()
    yield orders.give("b", data={"x": [1]}, **block)
    yield orders.move_step("a", "RUNNING", stats={"walltime": 1.5})
    yield orders.emit("a", data={"answer": 42})
    yield orders.move_step("a", "FAILED", stats={"error": f"no {orders.user_id}", "cost": 3})
    yield orders.move_step("b", "QUEUED", execution_data={"x": 1})
    yield orders.order("graph.share", is_shared=True, share_token_hash=share_hash(orders))
    yield orders.start()  # refused
    yield orders.order("graph.update", stats={"cost": 3, "walltime": 2.5})
    yield orders.keep(data={"v": 1})
    yield orders.raw(b"no json")


def share_hash(orders: Orders) -> str:
    return hash_share_token(f"{TOKEN}-{orders.user_id}")


def rows_of(table: Table, columns: Collection[str], values: Mapping[str, object]) -> str:
    """The condition on rows of `table`, which has these columns, that belong to the owner with the
    ids in `values`, or on all rows.
    """
    if table.name in NAMES:
        column = NAMES[table.name]
        owner = {
            "graph_execution": "graph_exec_id",
            "block": "block_id",
            "graph": "graph_id",
            "dead_letter": "dead_letter_id",
        }[table.name]
        return f"{column} = '{values[owner]}'"
    owner = next((one for one in OWNER_COLUMNS if one in columns), "")
    return f"{owner} = '{values[owner]}'" if owner else "true"


class Plant(NamedTuple):
    """A value for a column of a table, as SQL."""

    table: Table
    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.table.name}.{self.column} = {self.value[:60]}"


async def plants(db: asyncpg.Pool) -> list[Plant]:
    """All values of each column, NULL among them where it may be."""
    return [
        Plant(table, row["name"], value)
        for table in TABLES
        for row in await db.fetch(_COLUMNS, table.name)
        for value in (*["null"] * row["is_nullable"], *VALUES.get(row["type"], ()))
    ]


async def large_plants(db: asyncpg.Pool) -> list[Plant]:
    """A value of 40 MB for each column that takes one."""
    return [
        Plant(table, row["name"], LARGE_VALUES[row["type"]])
        for table in TABLES
        for row in await db.fetch(_COLUMNS, table.name)
        if row["type"] in LARGE_VALUES
    ]


def one_of_each(everything: Iterable[Plant]) -> list[Plant]:
    """One of the values of each column, each time another one."""
    chosen = []
    for number, (_, some) in enumerate(groupby(everything, key=lambda one: one[:2])):
        several = list(some)
        chosen.append(several[number % len(several)])
    return chosen


async def columns_of_tables(db: asyncpg.Pool) -> dict[str, set[str]]:
    """Names of the columns of each table."""
    return {
        table.name: {row["name"] for row in await db.fetch(_COLUMNS, table.name)}
        for table in TABLES
    }


def rounds(everything: Iterable[Plant], *, each_alone: Collection[Table] = ()) -> list[list[Plant]]:
    """Plants of different tables together, which takes a fraction of the time; but of the tables
    `each_alone` one at a time."""
    by_table: dict[Table | None, list[Plant]] = {}
    for plant in everything:
        group = None if plant.table in each_alone else plant.table
        by_table.setdefault(group, []).append(plant)
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
    table, column = plant.table.name, plant.column
    if str(LARGE) in plant.value:  # in one row: many of them are not a large row, but much data
        rows = f"select tableoid, ctid from {table} where {where} and {column} is not null limit 1"
        where = f"(tableoid, ctid) in ({rows})"
    statement = f"update {table} set {column} = {plant.value} where {where}"
    try:
        return str(await db.execute(statement)) != "UPDATE 0"
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError):
        return False  # an index takes no text of this size, or the row is there already
