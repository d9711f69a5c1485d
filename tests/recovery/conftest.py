"""The program, and a run that it can explain."""

import pytest

from tests.recovery.told import Told
from tests.worker import Installation, Worker


@pytest.fixture(scope="module")
async def told(place: Installation, worker: Worker) -> Told:
    """That run, in the tables."""
    assert worker.is_alive
    run = Told()
    await place.db.execute("insert into block values ('fetch', 'Fetch', 'STANDARD')")
    await place.put(run.commands.values())
    await place.drained()
    return run
