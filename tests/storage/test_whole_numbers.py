"""Integers as `numeric`: Postgres reads what the tally writes, whatever its size."""

from random import Random

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage.connections import TALLY, Session
from tests.names import Names

EDGES = [10**power + more for power in (0, 4, 8, 12, 63, 400) for more in (-1, 0, 1)]


async def test_whole_numbers_arrive_and_come_back(stack: Addresses, names: Names) -> None:
    """Alone and in arrays, as text and as numbers."""
    random = Random(1)
    numbers = EDGES + [random.randrange(10 ** random.randrange(1, 60)) for _ in range(500)]
    numbers += [-number for number in numbers]
    session = Session(stack.postgres_dsn, names.schema, TALLY)
    try:
        db = await session.get()
        as_text, back = await db.fetchrow("select $1::numeric[]::text[], $1::numeric[]", numbers)
        texts = [str(number) for number in numbers]
        read = await db.fetchval("select $1::text[]::numeric[]", texts)

        assert (as_text, back, read) == (texts, numbers, numbers)
        assert await db.fetchval("select sum(n) from unnest($1::numeric[]) as n", numbers) == 0
    finally:
        await session.close()


@pytest.mark.parametrize("value", ["0.5", "12345.6789", "NaN", "Infinity"])
async def test_nothing_else_is_taken_for_a_whole_number(
    stack: Addresses, names: Names, value: str
) -> None:
    session = Session(stack.postgres_dsn, names.schema, TALLY)
    try:
        db = await session.get()
        with pytest.raises((ValueError, asyncpg.InterfaceError), match="integer"):
            await db.fetchval("select $1::text::numeric", value)
    finally:
        await session.close()
