"""The pool that reads go through.

Values come back as Python objects with exact numbers (`streams.exact_json`). What writes values has
a connection of its own and hands over bytes.
"""

import asyncpg

from execstream.storage.schema.migrate import quoted
from execstream.streams import exact_json

POOL_SIZE = 10  # connections
COMMAND_TIMEOUT = 60  # seconds


async def connect(dsn: str, schema: str = "execstream") -> asyncpg.Pool:
    """Open a pool of connections that find the tables of `schema`. Close it with `close()`.

    Statements are planned with their arguments at hand: only so can the planner leave out
    partitions, use partial indexes, and tell an owner of ten runs from one of a million.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=POOL_SIZE,
        command_timeout=COMMAND_TIMEOUT,
        init=_read_json_as_objects,
        server_settings={
            "application_name": "execstream",
            "search_path": quoted(schema),
            "plan_cache_mode": "force_custom_plan",
            "jit": "off",
        },
    )


async def _read_json_as_objects(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode, decoder=exact_json.decode, format="text"
    )


def _encode(value: object) -> str:
    return exact_json.encode(value).decode()
