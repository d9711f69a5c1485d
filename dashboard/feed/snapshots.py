"""Snapshots: the state that a stream begins with, and the position at which it was so."""

from collections.abc import AsyncIterator

import asyncpg

from execstream.dashboard.feed import frames
from execstream.dashboard.feed.cursor import Position, encode
from execstream.dashboard.feed.journal_pages import boundary
from execstream.dashboard.quotas import Caller
from execstream.dashboard.streamed import answers
from execstream.dashboard.streamed.values import SNAPSHOT_VALUE, Limit, joined
from execstream.storage.log.reader import Scope
from execstream.storage.querying import snapshot
from execstream.storage.reads.run_filters import RunFilters
from execstream.storage.reads.run_lists import runs_page

RUNS = 25
LARGE_WITHIN = 60.0  # seconds to wait for other large requests: all browsers come back at once

_OWNER = "select id, user_id from graph_execution where id = $1"


class Snapshot:
    """For a run, the run with its steps; for another scope, the first page of its runs. Values over
    SNAPSHOT_VALUE are left out.

    Attributes:
        position: of the frame that was sent last.
    """

    def __init__(
        self, texts: asyncpg.Pool, topic_prefix: str, scope: Scope, caller: Caller
    ) -> None:
        self.position: Position = {}
        self._texts = texts
        self._topic_prefix = topic_prefix
        self._scope = scope
        self._caller = caller

    def frame(self) -> AsyncIterator[bytes]:
        """Yield the frame in parts."""
        return joined(self._parts())

    async def _parts(self) -> AsyncIterator[bytes]:
        async with self._caller.large(LARGE_WITHIN), snapshot(self._texts) as connection:
            self.position = await boundary(connection, self._topic_prefix)
            yield frames.begin("snapshot", encode(self.position))
            async for part in self._state(connection):
                yield part
            yield frames.END

    async def _state(self, connection: asyncpg.Connection) -> AsyncIterator[bytes]:
        limit = Limit(SNAPSHOT_VALUE)
        scope = self._scope
        if scope.graph_exec_id is None:
            filters = RunFilters(scope.user_id, scope.graph_id)
            statement, args = runs_page(filters, limit=RUNS)
            state = answers.runs(connection, statement, args, RUNS, None, limit)
        else:
            owner = await connection.fetchrow(_OWNER, scope.graph_exec_id)
            found = None
            if owner is not None:
                found = await answers.run(connection, owner["id"], owner["user_id"], None, limit)
            if found is None:
                yield b"null"  # it was deleted a moment ago
                return
            state = found
        async for part in state:
            yield part
