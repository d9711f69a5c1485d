"""Compare two schemas by hashes that do not depend on the order of rows.

Every row is hashed over its columns as text, and hashes are added up per partition; where two sums
differ, per run or row, down to the values. Each side is read on a connection of its own, so that
each can be in a snapshot of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import asyncpg

from execstream.recovery.verify.recomputed_totals import UNKNOWN, Unknown, is_unknown
from execstream.recovery.verify.row_comparison import columns_of
from execstream.storage.connections import NO_TIMEOUT, quoted
from execstream.storage.schema import tables
from execstream.storage.schema.tables import Origin, Table

Key = tuple[Any, ...]
NO_PARTITION = -1  # of rows without a source partition


@dataclass(frozen=True, slots=True)
class Compared:
    """A table of the registry. `join` and `where` choose its rows (alias `t`); `before` holds for
    those older than row `b` of `bounds`."""

    table: Table
    partition: str = "t.source_partition"
    join: str = ""
    where: str = "true"
    before: str = "t.source_offset < b.source"


_UNMOVED = "not exists (select from moved m where m.id = t.{})"
_KEPT = "not exists (select from unkept u where u.id = t.graph_exec_id)"


def _of_known_days(table: Table) -> Compared:
    where = f"not {is_unknown(table)}"
    # Those of a trimmed run went with its steps.
    return Compared(table, where=f"{where} and {_KEPT}" if table is tables.RUN_ERRORS else where)


_SPECIAL = (
    Compared(
        replace(tables.RUNS, left_out=("trimmed_at",)),
        where=_UNMOVED.format("id"),
        before="true",
    ),
    Compared(
        tables.STEPS,
        partition="g.source_partition",
        join="join {schema}.graph_execution g on g.id = t.graph_exec_id",
        where=f"{_UNMOVED.format('graph_exec_id')} and {_KEPT}",
        before="true",
    ),
    Compared(tables.JOURNAL, where=_KEPT),
    Compared(
        tables.KEY_VALUES,
        partition=f"{NO_PARTITION}",
        where="not exists (select from rewritten r where (r.user_id, r.key) = (t.user_id, t.key))",
        before="true",
    ),
    # The refusals of a trimmed run depend on the time of the trimming.
    Compared(tables.REFUSALS, where=_KEPT),
    Compared(
        replace(tables.DEAD_LETTERS, key=("topic", *tables.DEAD_LETTERS.key)),
        partition="t.partition",
        before='(t.topic <> b.topic or t."offset" < b.kafka)',
    ),
    Compared(
        replace(tables.CONSUMER_OFFSETS, key=("topic", "partition")),
        partition="t.partition",
        where="t.consumer = 'apply'",
    ),
    *(_of_known_days(table) for table in tables.TOTALS),
)


def _of(origin: Origin) -> tuple[Compared, ...]:
    special = {compared.table.name: compared for compared in _SPECIAL}
    return tuple(
        special.get(table.name, Compared(table))
        for table in tables.TABLES
        if table.origin is origin
    )


FOLDS, ANSWERS = _of(Origin.APPLIED), _of(Origin.REJECTED)
COUNTS, TOTALS = _of(Origin.OFFSETS), _of(Origin.TOTAL)


class Bound(NamedTuple):
    """The first offset of a partition of `topic` that is not compared: in sources, and Kafka's."""

    topic: str
    partition: int
    source: int
    kafka: int


class Sum(NamedTuple):
    """Rows, and the sum of their hashes."""

    rows: int
    hash: int


class Sums(NamedTuple):
    """The sums of a table, by partition."""

    live: dict[int, Sum]
    rebuilt: dict[int, Sum]


class Difference(NamedTuple):
    """A value that is not the same on both sides, as text; `*`: the whole row is on one side."""

    table: str
    key: Key
    column: str
    live: str | None
    rebuilt: str | None


class LeftOut(NamedTuple):
    """Ids of runs that moved on after the bounds, and of those that were erased after them; users
    and keys of key-values that were written after the bounds."""

    moved: set[Any]
    erased: set[Any]
    rewritten: set[Key]


class Side:
    """One of the two schemas; `temporary` are tables that a copy in the session stands in for."""

    def __init__(self, connection: asyncpg.Connection, schema: str) -> None:
        self.connection = connection
        self.schema = schema
        self.temporary: set[str] = set()
        self.is_bounded = False

    async def limit(self, bounds: Iterable[Bound], unknown: Iterable[Unknown]) -> None:
        """Compare only rows before `bounds`, if there are any, and no totals of days that are
        `unknown`. To be called first, in a transaction that lasts as long as the comparison.
        """
        chosen = list(bounds)
        self.is_bounded = bool(chosen)
        await self.connection.execute(f"{_LIMITS}; {UNKNOWN}")
        await self.connection.copy_records_to_table("bounds", records=chosen)
        await self.connection.copy_records_to_table("unknown", records=list(unknown))

    async def left_out(self) -> LeftOut:
        """The rows of this side that cannot be compared, beside rows dropped by retention."""
        name = quoted(self.schema)
        moved, erased, rewritten = [
            await self.connection.fetch(statement.format(schema=name), timeout=NO_TIMEOUT)
            for statement in (_MOVED, _ERASED, _REWRITTEN)
        ]
        return LeftOut(
            {row[0] for row in moved},
            {row[0] for row in erased},
            {tuple(row) for row in rewritten},
        )

    async def leave_out(self, rows: LeftOut, schemas: Iterable[str]) -> None:
        """Do not compare `rows`, nor the journal and steps of runs trimmed in one of `schemas`;
        nothing may be trimmed meanwhile.
        """
        for table, records in (
            ("moved", [(run_id,) for run_id in rows.moved]),
            ("unkept", [(run_id,) for run_id in rows.erased]),
            ("rewritten", list(rows.rewritten)),
        ):
            await self.connection.copy_records_to_table(table, records=records)
        for schema in schemas:
            await self.connection.execute(
                _TRIMMED.format(schema=quoted(schema)), timeout=NO_TIMEOUT
            )

    async def sums(self, compared: Compared) -> dict[int, Sum]:
        """The sums of all rows, by partition."""
        hashed = await self._hashed(compared)
        rows = await self.connection.fetch(
            f"select partition, count(*), sum(hash) from ({hashed}) h group by 1",
            timeout=NO_TIMEOUT,
        )
        return {row["partition"]: Sum(row["count"], int(row["sum"])) for row in rows}

    async def sums_by_key(self, compared: Compared, partition: int) -> dict[Key, Sum]:
        """The sums of the rows of one partition, by run where the table is keyed by runs, else by
        row.
        """
        width = 1 if compared.table.key[0] == "graph_exec_id" else len(compared.table.key)
        keys = ", ".join(f"k{n}" for n in range(width))
        rows = await self.connection.fetch(
            f"""select {keys}, count(*), sum(hash) from ({await self._hashed(compared)}) h
                 where partition = $1 group by {keys}""",
            partition,
            timeout=NO_TIMEOUT,
        )
        return {tuple(row[:width]): Sum(row[width], int(row[width + 1])) for row in rows}

    async def values(self, compared: Compared, key: Key) -> dict[Key, dict[str, str | None]]:
        """The columns, as text, of the rows whose key begins with `key`; by their whole key."""
        columns = await self._columns(compared)
        listed = ", ".join(f"({compared.table.compared(c)})::text as {quoted(c)}" for c in columns)
        named = " and ".join(f"k{n} = ${n + 1}" for n in range(len(key)))
        keys = ", ".join(f"k{n}" for n in range(len(compared.table.key)))
        rows = await self.connection.fetch(
            f"select * from (select {self._keys(compared)}, {listed} {self._rows(compared)}) v "
            f"where {named} order by {keys}",
            *key,
            timeout=NO_TIMEOUT,
        )
        width = len(compared.table.key)
        return {tuple(row[:width]): dict(list(row.items())[width:]) for row in rows}

    async def _hashed(self, compared: Compared) -> str:
        columns = ", ".join(compared.table.compared(c) for c in await self._columns(compared))
        return (
            f"select {compared.partition} as partition, {self._keys(compared)}, "
            f"hashtextextended(row({columns})::text, 0) as hash {self._rows(compared)}"
        )

    @staticmethod
    def _keys(compared: Compared) -> str:
        return ", ".join(f"t.{quoted(c)} as k{n}" for n, c in enumerate(compared.table.key))

    def _rows(self, compared: Compared) -> str:
        join, where = compared.join.format(schema=quoted(self.schema)), compared.where
        if self.is_bounded and compared.before != "true":
            join += f" join bounds b on b.partition = {compared.partition}"
            where += f" and {compared.before}"
        return f"from {self._name(compared.table.name)} t {join} where {where}"

    def _name(self, table: str) -> str:
        where = "pg_temp" if table in self.temporary else quoted(self.schema)
        return f"{where}.{quoted(table)}"

    async def _columns(self, compared: Compared) -> list[str]:
        table = f"{quoted(self.schema)}.{compared.table.name}"
        columns = await columns_of(self.connection, table)
        return [name for name, _ in columns if name not in compared.table.left_out]


_LIMITS = """
set local timezone = 'UTC';
create temp table bounds (topic text, partition int primary key, source bigint, kafka bigint)
    on commit drop;
create temp table moved (id uuid primary key) on commit drop;
create temp table unkept (id uuid primary key) on commit drop;
create temp table rewritten (user_id text, key text, primary key (user_id, key)) on commit drop
"""
_MOVED = """
select distinct j.graph_exec_id from {schema}.journal j
  join bounds b on b.partition = j.source_partition and j.source_offset >= b.source
"""
_ERASED = f"{_MOVED} and j.type = 'graph.deleted' and (j.detail ->> 'hard')::boolean"
_TRIMMED = """
insert into unkept select id from {schema}.graph_execution where trimmed_at is not null
    on conflict do nothing
"""
_REWRITTEN = """
select distinct k.user_id, k.key from {schema}.kv_journal k
  join bounds b on b.partition = k.source_partition and k.source_offset >= b.source
"""


async def differing_keys(compared: Compared, live: Side, rebuilt: Side) -> tuple[Sums, list[Key]]:
    """The sums of both sides, and the runs, or keys of rows, with different hashes."""
    found: list[Key] = []
    ours, theirs = await live.sums(compared), await rebuilt.sums(compared)
    for partition in sorted(ours.keys() | theirs.keys()):
        if ours.get(partition) != theirs.get(partition):
            here = await live.sums_by_key(compared, partition)
            there = await rebuilt.sums_by_key(compared, partition)
            found += [key for key in here.keys() | there.keys() if here.get(key) != there.get(key)]
    return Sums(ours, theirs), sorted(found, key=str)


async def differences(compared: Compared, key: Key, live: Side, rebuilt: Side) -> list[Difference]:
    """The differences of the rows whose key begins with `key`."""
    ours, theirs = await live.values(compared, key), await rebuilt.values(compared, key)
    found = []
    for place in sorted(ours.keys() | theirs.keys(), key=str):
        here, there = ours.get(place), theirs.get(place)
        if here is None or there is None:
            words = ("missing", "there") if here is None else ("there", "missing")
            found.append(Difference(compared.table.name, place, "*", *words))
            continue
        found += [
            Difference(compared.table.name, place, column, here[column], there[column])
            for column in here
            if here[column] != there[column]
        ]
    return found
