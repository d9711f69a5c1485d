"""A bridge, and one server, for all tests of a module; and workers that faults kill."""

from collections.abc import AsyncIterator

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard.server import Server
from execstream.devstack import Stack
from tests.dashboard.fleet import Fleet, running_fleet
from tests.dashboard.serving import PATIENCE, serving
from tests.worker import Installation, Worker, until


@pytest.fixture(scope="module")
async def bridge(place: Installation) -> AsyncIterator[Worker]:
    """A bridge to Redis, for as long as the module runs."""
    running = await place.start_worker("bridge")

    async def owns() -> bool:
        assert running.is_alive, running.log()
        return bool(running.said("owns"))

    await until(owns)
    yield running
    await running.stop()


@pytest.fixture(scope="module")
async def sender(place: Installation) -> AsyncIterator[ExecutionClient]:
    """A client on the installation of the module's workers."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.settings.environment().items():
            environment.setenv(name, value)
        client = ExecutionClient()
    async with client:
        yield client


@pytest.fixture(scope="module")
async def server(place: Installation, sender: ExecutionClient) -> AsyncIterator[Server]:
    """A server without tokens."""
    async with serving(place.settings, sender) as own:
        yield own


@pytest.fixture(scope="module")
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that server."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
async def fleet(
    breakable_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """Workers on servers of their own."""
    async with running_fleet(breakable_stack, tmp_path_factory.mktemp("figures")) as own:
        yield own
