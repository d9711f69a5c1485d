"""Tables of a test's own."""

from collections.abc import AsyncIterator

import pytest

from devstack import Addresses
from tests.storage.factories import Tables, fresh_tables


@pytest.fixture
async def tables(stack: Addresses) -> AsyncIterator[Tables]:
    """Migrated tables that only this test uses."""
    async with fresh_tables(stack.postgres_dsn) as fresh:
        yield fresh
