"""Key-values that steps keep for their user."""

import asyncpg
from pydantic import JsonValue

GET_VALUE = "select data from kv_data where user_id = $1 and key = $2"


async def get_execution_kv_data(db: asyncpg.Pool, user_id: str, key: str) -> JsonValue:
    """The value exactly as it was set; None when it is null or there is none."""
    value: JsonValue = await db.fetchval(GET_VALUE, user_id, key)
    return value
