"""One installation and one worker for all tests of a module; modules that need others say so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack import Addresses
from tests.recovery.told import Told
from tests.whole.program import Program, variables
from tests.worker import Installation, Worker, installation


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Topics and tables of this module's own."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as own:
        yield own


@pytest.fixture(scope="module")
async def worker(place: Installation) -> AsyncIterator[Worker]:
    """A worker that applies what comes."""
    async with place.worker() as running:
        yield running


@pytest.fixture
def program(place: Installation, tmp_path: Path) -> Program:
    """The program on this module's topics and tables."""
    return Program(tmp_path, variables(place.config))


@pytest.fixture(scope="module")
async def told(place: Installation, worker: Worker) -> Told:
    """That run, in the tables."""
    assert worker.is_alive
    run = Told()
    await place.db.execute("insert into block values ('fetch', 'Fetch', 'STANDARD')")
    await place.put(run.commands.values())
    await place.drained()
    return run
