"""Reads of a request as its user: under row security, for a token bound to a user.

The role and the user hold for one transaction, so nothing of them is left on a connection.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from execstream.storage.schema.row_security import VIEWED_USER, VIEWER

_AS_USER = "select set_config('role', $1, true), set_config($2, $3, true)"


class OwnRows:
    """A pool as one request sees it: all rows, or those of the user that its token is bound to.

    `state` is that of the request. It has the user as `bound_to` since the token was shown, which
    is before the first read.
    """

    def __init__(self, pool: asyncpg.Pool, state: object) -> None:
        self._pool = pool
        self._state = state

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection; of a user, in a transaction that only reads."""
        user_id = getattr(self._state, "bound_to", None)
        async with self._pool.acquire() as connection:
            if user_id is None:
                yield connection
                return
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(_AS_USER, VIEWER, VIEWED_USER, user_id)
                yield connection

    async def fetch(self, statement: str, *args: object) -> list[asyncpg.Record]:
        """As of a pool; so are the others."""
        async with self.acquire() as connection:
            return list(await connection.fetch(statement, *args))

    async def fetchrow(self, statement: str, *args: object) -> asyncpg.Record | None:
        """The first row."""
        async with self.acquire() as connection:
            return await connection.fetchrow(statement, *args)

    async def fetchval(self, statement: str, *args: object) -> Any:
        """The first value of the first row."""
        async with self.acquire() as connection:
            return await connection.fetchval(statement, *args)

    async def execute(self, statement: str, *args: object) -> str:
        """The status of a statement."""
        async with self.acquire() as connection:
            return str(await connection.execute(statement, *args))

    def get_size(self) -> int:
        """Open connections."""
        return int(self._pool.get_size())

    def get_idle_size(self) -> int:
        """Open connections that nobody uses."""
        return int(self._pool.get_idle_size())
