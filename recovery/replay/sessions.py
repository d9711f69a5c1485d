"""Connections of a replay: each for one purpose, without a limit to how long a statement takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from execstream.storage.schema.migrate import quoted


@asynccontextmanager
async def session(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that finds the tables of `schema`."""
    connection = await asyncpg.connect(
        dsn,
        server_settings={
            "search_path": quoted(schema),
            "jit": "off",
            # The live side comes first: no more than one core for indexes and for comparing.
            "max_parallel_workers_per_gather": "0",
            "max_parallel_maintenance_workers": "0",
        },
    )
    try:
        yield connection
    finally:
        await connection.close()
