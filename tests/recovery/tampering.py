"""Changes of single cells by hand, each in a row of its own; and the reports expected of them."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from execstream.recovery.verify.report import Difference
from execstream.recovery.verify.row_comparison import columns_of
from execstream.storage.schema import tables

# By type: another value than the one that is there.
_OTHER = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({0}, '') || 'x'",
    "integer": "{0} + 1000",
    "bigint": "{0} + 1000",
    "numeric": "{0} + 1000",
    "boolean": "not {0}",
    "jsonb": """'{{"changed": 1}}'""",
    "bytea": "'changed'",
    "date": "{0} + 1",
    "timestamp with time zone": "coalesce({0}, '2026-03-01') + interval '1 hour 1 second'",
}


@dataclass(frozen=True)
class Table:
    """`rows`: a source of rows (alias `t`), so that no two are of one run or user; `key`: the name
    of a row, as in a difference.
    """

    name: str
    key: tuple[str, ...]
    rows: str
    untold: frozenset[str]  # columns that are not compared
    chosen_by: frozenset[str]  # columns by which rows are found, beside the key

    def fields(self, column: str) -> frozenset[str]:
        """The names that a difference in `column` may have: for a key's, the row is missing."""
        if column in self.key:
            return frozenset({"*"})
        return frozenset({column, "*"} if column in self.chosen_by else {column})


def _of(table: tables.Table, rows: str = "", *chosen_by: str) -> Table:
    rows = rows or f"select t.* from {table.name} t"
    return Table(table.name, table.key, rows, frozenset(table.left_out), frozenset(chosen_by))


MENDED = [
    _of(tables.RUNS, "select t.* from graph_execution t where not is_deleted"),
    _of(
        tables.STEPS,
        """select distinct on (t.graph_exec_id) t.* from node_execution t
            join graph_execution g on g.id = t.graph_exec_id and not g.is_deleted""",
    ),
    _of(tables.KEY_VALUES),
    *map(_of, tables.TOTALS),
]
TOLD_BY_TOPICS = [
    _of(
        tables.JOURNAL,
        """select distinct on (t.graph_exec_id) t.* from journal t
            join graph_execution g on g.id = t.graph_exec_id and not g.is_deleted
           where seq > 1""",
        "source_partition",
        "source_offset",
    ),
    # For a user with key-values on several partitions there is no evidence any more.
    _of(tables.KEY_VALUE_JOURNAL, "select distinct on (t.user_id) t.* from kv_journal t"),
    _of(
        tables.REFUSALS,
        # Where a run is another partition's, the refusal itself shows that it came early.
        """select t.* from refusal t
            where command_type <> 'kv.set' and reason <> 'unknown_graph_execution'""",
    ),
    _of(tables.DEAD_LETTERS, "", "topic"),
]


@dataclass(frozen=True)
class Change:
    """A cell that was changed: of the row `key`."""

    table: str
    column: str
    key: dict[str, Any]
    fields: frozenset[str]  # the name that a difference may give it

    def is_told_by(self, difference: Difference) -> bool:
        """Return whether `difference` names the cell."""
        if difference.kind != self.table or difference.field not in self.fields:
            return False
        named = {
            "graph_exec_id": difference.graph_exec_id,
            "id": difference.node_exec_id or difference.graph_exec_id,
        } | difference.place
        return all(str(named.get(name)) == value for name, value in self.key.items())


async def tamper(db: asyncpg.Pool, table: Table, number: int = 0) -> list[Change]:
    """Change each column of `table` once, in the rows from `number` on."""
    changes = []
    columns = await columns_of(db, table.name)
    rows = await db.fetch(
        f"select * from (select to_jsonb(r) as json from ({table.rows}) r) s offset $1 limit $2",
        number,
        len(columns),
    )
    for index, (column, kind) in enumerate(columns):
        if column in table.untold:
            continue
        row = rows[index % len(rows)]["json"]
        fields = table.fields(column)
        change = Change(table.name, column, await _key(db, table, row), fields)
        where = " and ".join(f"t.{_quoted(name)} = r.{_quoted(name)}" for name in table.key)
        name = _quoted(column)
        done = await db.execute(
            f"""update {table.name} t set {name} = {_OTHER[kind].format("t." + name)}
                  from jsonb_populate_record(null::{table.name}, $1::jsonb) r where {where}""",
            row,
        )
        assert done == "UPDATE 1", (table.name, column, done)
        changes.append(change)
    return changes


def _quoted(name: str) -> str:
    return f'"{name}"'


async def _key(db: asyncpg.Pool, table: Table, row: str) -> dict[str, Any]:
    return {name: await db.fetchval("select $1::jsonb ->> $2", row, name) for name in table.key}
