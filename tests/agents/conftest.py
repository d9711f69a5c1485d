"""A bridge that is fed by hand, and a Redis of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.devstack.ports import free_ports
from execstream.devstack.redis import prepare
from execstream.devstack.server import Server
from execstream.storage.schema.migrate import migrate
from tests.agents.bridging import REDIS_PASSWORD, Bridging
from tests.names import Names


@pytest.fixture
async def bridging(stack: Addresses, names: Names) -> AsyncIterator[Bridging]:
    await migrate(stack.postgres_dsn, names.schema)
    new = Bridging(stack.postgres_dsn, stack.redis_url, names)
    yield new
    await new.close()


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[Server]:
    """A Redis that a test may kill."""
    [port] = free_ports(1)
    server = await prepare(tmp_path, tmp_path, port, REDIS_PASSWORD)
    server.spawn()
    await server.wait_ready()
    yield server
    await server.kill()
