"""Snapshots: the state that a stream begins with, and the position at which it was so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from execstream.dashboard.feed.cursor import Position
from execstream.dashboard.feed.journal_pages import boundary
from execstream.storage.log.reader import Scope
from execstream.storage.reads.run_detail import get_graph_execution
from execstream.storage.reads.run_lists import list_graph_executions
from execstream.streams import exact_json


class _OneConnection:
    """Stands in for a pool, so that several reads see one moment."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        yield self._connection


async def take_snapshot(
    db: asyncpg.Pool, topic_prefix: str, scope: Scope
) -> tuple[Position, bytes]:
    """Of a run, the run with its steps; of anything else, the first page of its runs."""
    async with (
        db.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        position = await boundary(connection, topic_prefix)
        if scope.graph_exec_id is None:
            return position, await _newest(connection, scope)
        return position, await _run(connection, scope.graph_exec_id)


async def _newest(connection: asyncpg.Connection, scope: Scope) -> bytes:
    page = await list_graph_executions(connection, scope.graph_id, user_id=scope.user_id)
    return exact_json.encode(page.model_dump() | {"as_of": datetime.now(UTC)})


_OWNER = "select user_id from graph_execution where id = $1"


async def _run(connection: asyncpg.Connection, graph_exec_id: str) -> bytes:
    """The run, or null when it was deleted a moment ago."""
    owner = await connection.fetchval(_OWNER, graph_exec_id)
    run = await get_graph_execution(_OneConnection(connection), owner, graph_exec_id, True)
    return exact_json.encode(run)
