"""Dedicated connections: one per use, opened when first needed, reopened after a failure.

A pool would reset a connection at every release, a second round trip per batch.
"""

import asyncpg

from execstream.storage.schema.migrate import quoted

COMMAND_TIMEOUT = 30.0  # seconds


def application_name(schema: str) -> str:
    """What sessions that write into `schema` are known by; Postgres keeps 63 bytes of it."""
    return f"execstream in {schema}"[:63]


class Session:
    """A connection that comes back; for one user at a time."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._settings = {
            "search_path": quoted(schema),
            "application_name": application_name(schema),
            "jit": "off",
        }
        self._connection: asyncpg.Connection | None = None

    async def get(self) -> asyncpg.Connection:
        """The open connection."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, command_timeout=COMMAND_TIMEOUT, server_settings=self._settings
            )
        return self._connection

    def terminate(self) -> None:
        """Drop the connection: its state is unknown."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
