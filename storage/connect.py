"""The pool that reads go through.

Values come back as Python objects, whole numbers of any length exactly; a number with a fraction
becomes the nearest float. What writes values has a connection of its own and hands over bytes.
"""

import json
from decimal import Decimal

import asyncpg
import msgspec

from storage.migrate import quoted

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
        "jsonb", schema="pg_catalog", encoder=_encode, decoder=_decode, format="text"
    )


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # A number that is too long for msgspec, and for int() without the detour.
        return json.loads(text, parse_int=lambda digits: int(Decimal(digits)))
