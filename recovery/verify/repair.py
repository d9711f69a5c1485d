"""Rewrite rows from the log while workers keep running.

A transaction that mends holds the offsets of the consumer whose commits would write the same rows:
every commit begins with them (`advance`), so it waits for some milliseconds. States in the memory
of workers come from the journal, as the mended rows do.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from execstream.recovery.verify.row_comparison import Differing
from execstream.storage import connections
from execstream.storage.commit.write_set import Row
from execstream.storage.connections import VERIFY
from execstream.storage.schema.tables import JOURNAL, Table

_HOLD = """
select from consumer_offset where consumer = $1 order by topic, partition for update
"""


@asynccontextmanager
async def held(dsn: str, schema: str, consumer: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction during which `consumer` commits nothing."""
    async with (
        connections.connection(dsn, schema, VERIFY) as connection,
        connection.transaction(),
    ):
        await connection.execute(_HOLD, consumer)
        yield connection


async def fence_off(connection: asyncpg.Connection, consumer: str) -> None:
    """Have workers of `consumer` reload the stored state: they notice at their next commit."""
    await connection.execute(
        "update consumer_offset set epoch = epoch + 1 where consumer = $1", consumer
    )


async def replace_runs(
    connection: asyncpg.Connection,
    run_ids: Collection[str],
    runs: Sequence[Row],
    steps: Sequence[Row],
    *,
    but_steps_of: Collection[str] = (),
) -> None:
    """Have rows of `run_ids` be `runs` and `steps`; steps of `but_steps_of` stay as they are."""
    ids = list(run_ids)
    await connection.execute("delete from graph_execution where id = any($1::uuid[])", ids)
    await connection.execute(
        "insert into graph_execution select * from unnest($1::graph_execution[])", list(runs)
    )
    others = [run_id for run_id in ids if run_id not in but_steps_of]
    await connection.execute(
        "delete from node_execution where graph_exec_id = any($1::uuid[])", others
    )
    await connection.execute(
        "insert into node_execution select * from unnest($1::node_execution[])", list(steps)
    )


# Rows with the key of an entry, and rows with its source under another key.
_TAKE_ENTRY = """
delete from journal j using {record} e
 where (j.graph_exec_id = e.graph_exec_id and j.seq = e.seq)
    or (j.source_partition = e.source_partition and j.source_offset = e.source_offset
        and j.source_index = e.source_index)
"""
_ADD_ENTRY = "insert into journal select * from {record}"


async def replace_entries(connection: asyncpg.Connection, rows: Sequence[Differing]) -> int:
    """Rewrite entries of the journal as expected; return their number."""
    for statement in (_TAKE_ENTRY, _ADD_ENTRY):  # one may have the key of another
        for row in rows:
            await connection.execute(
                statement.format(record=_record(JOURNAL, 1)), _json(row.expected)
            )
    return len(rows)


# Rows without an entry are deleted only where the row from before a change of its id is there
# again.
_FORGET_RUNS = """
delete from graph_execution g
 where id = any($1::uuid[]) and trimmed_at is null
   and not exists (select from journal j where j.graph_exec_id = g.id)
   and exists (select from graph_execution t
                where t.id <> g.id and t.graph_id = g.graph_id and t.user_id = g.user_id
                  and t.created_at = g.created_at and t.updated_at = g.updated_at
                  and t.last_seq = g.last_seq)
returning id
"""
_FORGET_STEPS = """
delete from node_execution n
 where graph_exec_id = any($1::uuid[])
   and not exists (select from journal j where j.graph_exec_id = n.graph_exec_id)
   and exists (select from node_execution t
                where t.id = n.id and t.graph_exec_id <> n.graph_exec_id
                  and t.added_seq = n.added_seq and t.added_time = n.added_time)
returning graph_exec_id
"""


async def forget_strays(connection: asyncpg.Connection, run_ids: Collection[str]) -> set[str]:
    """Delete rows under ids without a run; ids with deleted rows."""
    ids = list(run_ids)
    gone = await connection.fetch(_FORGET_RUNS, ids) + await connection.fetch(_FORGET_STEPS, ids)
    return {str(row[0]) for row in gone}


_MEND_KEY_VALUE = """
insert into kv_data as k (user_id, key, node_exec_id, data, updated_at)
select user_id, key, node_exec_id, data, at from kv_journal
 where user_id = $1 and key = $2 order by at desc, source_offset desc limit 1
on conflict (user_id, key) do update
   set node_exec_id = excluded.node_exec_id, data = excluded.data,
       updated_at = excluded.updated_at
"""
_FORGET_KEY_VALUE = """
delete from kv_data k
 where user_id = $1 and key = $2
   and not exists (select from kv_journal j where j.user_id = k.user_id and j.key = k.key)
   and exists (select from kv_journal j
                where j.node_exec_id = k.node_exec_id and j.data = k.data and j.at = k.updated_at)
"""


async def mend_key_value(connection: asyncpg.Connection, user_id: str, key: str) -> bool:
    """Rewrite a key-value from its journal; return whether it was mended."""
    mended = await connection.execute(_MEND_KEY_VALUE, user_id, key)
    if _changed(mended):
        return True
    return _changed(await connection.execute(_FORGET_KEY_VALUE, user_id, key))


# ---- totals --------------------------------------------------------------------------------

_COUNTS = frozenset(
    {
        *("added", "added_failed", "ended", "failed", "terminated", "duration_ms", "cost"),
        *(
            "tokens",
            "cascaded",
            "caller_failed",
            "skewed",
            "failures",
            "incomplete",
            "queued",
            "running",
            "completed",
            "review",
        ),
    }
)


async def mend_total(connection: asyncpg.Connection, row: Differing) -> bool:
    """Correct a total that may have changed since it was read: counts by the difference, other
    columns only if unchanged since. Returns whether it was mended.
    """
    table, columns = row.table, list(row.expected or row.found or {})
    if row.expected is None:
        done = await connection.execute(_taking_away(table), _json(row.found))
    elif row.found is None:
        done = await connection.execute(_adding(table, columns), _json(row.expected))
    else:
        statement = _correcting(table, columns)
        done = await connection.execute(statement, _json(row.expected), _json(row.found))
    return _changed(done)


def _json(row: dict[str, msgspec.Raw] | None) -> str:
    return msgspec.json.encode(row).decode()


def _record(table: Table, argument: int) -> str:
    return f"jsonb_populate_record(null::{table.name}, ${argument}::jsonb)"


def _same_key(table: Table, one: str, other: str) -> str:
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in table.key)


def _taking_away(table: Table) -> str:
    """A statement that deletes surplus rows, unless they have changed since."""
    return f"""delete from {table.name} t using {_record(table, 1)} f
                where {_same_key(table, "t", "f")} and t::text = f::text"""


def _adding(table: Table, columns: Sequence[str]) -> str:
    """A statement that inserts missing rows, or adds them to rows that were begun again."""
    counts = ", ".join(f"{c} = t.{c} + excluded.{c}" for c in columns if c in _COUNTS)
    return f"""insert into {table.name} as t select * from {_record(table, 1)}
                on conflict ({", ".join(table.key)}) do update set {counts}"""


def _correcting(table: Table, columns: Sequence[str]) -> str:
    changes = [
        f"{c} = t.{c} + e.{c} - f.{c}"
        if c in _COUNTS
        else f"{c} = case when t.{c} = f.{c} then e.{c} else t.{c} end"
        for c in columns
        if c not in table.key
    ]
    return f"""update {table.name} t set {", ".join(changes)}
                 from {_record(table, 1)} e, {_record(table, 2)} f
                where {_same_key(table, "t", "f")}"""


def _changed(status: str) -> bool:
    """Return whether a command's tag, such as `UPDATE 1`, counts a row."""
    return int(status.rsplit(" ", 1)[-1]) > 0
