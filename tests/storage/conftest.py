"""Tables of a test's own."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from execstream.devstack import Addresses
from execstream.storage.connections import Session
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.schema.migrate import migrate
from tests.names import Names
from tests.storage.factories import Tables, fresh_tables
from tests.storage.hearing import Scene
from tests.storage.histories import History
from tests.storage.proxy import cable


@pytest.fixture
async def tables(stack: Addresses) -> AsyncIterator[Tables]:
    """Migrated tables that only this test uses."""
    async with fresh_tables(stack.postgres_dsn) as fresh:
        yield fresh


@pytest.fixture
async def scene(stack: Addresses, names: Names) -> AsyncIterator[Scene]:
    """Tables, and Redis at the far end of a cable."""
    await migrate(stack.postgres_dsn, names.schema)
    session = Session(stack.postgres_dsn, names.schema)
    views = RunViews(names.redis_prefix)
    async with Redis.from_url(stack.redis_url) as redis, cable(stack.redis_url) as (between, url):
        yield Scene(stack, names, History(session), redis, views, between, url)
    await session.close()
