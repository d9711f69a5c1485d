"""An installation with a worker and a server, for all clients of a module."""

from collections.abc import AsyncIterator

import httpx
import pytest

from execstream import ExecutionClient
from tests.dashboard.serving import site
from tests.worker import Installation, Worker


@pytest.fixture(scope="module")
async def http(place: Installation, worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server on the installation of the module's worker."""
    assert worker.is_alive
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.settings.environment().items():
            environment.setenv(name, value)
        sender = ExecutionClient()
    # Programs that send all they can are to be answered, not told to wait.
    async with sender, site(place.settings_with(http_rate=1e6), sender) as client:
        yield client
