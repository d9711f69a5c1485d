"""An installation with a worker and a server, for all clients of a module."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from execstream import ExecutionClient
from tests.clients.program import run
from tests.dashboard.serving import site
from tests.fetching import program as fetched
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


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Its address, and its lines: one for each span."""
    folder = tmp_path / "otlp"
    shutil.copytree(Path(__file__).parent / "otlp", folder)
    await run(folder, fetched("go"), "build", "-o", "receiver", ".")
    process = await asyncio.create_subprocess_exec(
        folder / "receiver", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip(), process.stdout
    finally:
        process.kill()
        await process.wait()
