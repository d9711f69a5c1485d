"""Runs of which a rebuild has nothing, because the live schema has a row that cannot be read.

They are noted in `replay_unreadable` of the schema that is rebuilt: processes write there, and may
be killed.
"""

from collections.abc import Collection
from uuid import UUID

import asyncpg

UNREADABLE = "create table if not exists replay_unreadable (id uuid primary key)"

_LEAVE_OUT = (
    """insert into replay_unreadable select * from unnest($1::uuid[]) on conflict do nothing""",
    "delete from graph_execution where id = any($1::uuid[])",
    "delete from node_execution where graph_exec_id = any($1::uuid[])",
    "delete from journal where graph_exec_id = any($1::uuid[])",
)


async def leave_out_runs(connection: asyncpg.Connection, run_ids: Collection[str]) -> None:
    """Have nothing of these runs in the rebuild, the connection's schema."""
    async with connection.transaction():
        for statement in _LEAVE_OUT:
            await connection.execute(statement, list(run_ids))


async def runs_left_out(connection: asyncpg.Connection) -> set[UUID]:
    """Return the runs that the rebuild, the connection's schema, has nothing of."""
    return {row["id"] for row in await connection.fetch("select id from replay_unreadable")}
