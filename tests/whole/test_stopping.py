"""A worker that is asked to stop stops, whatever it was waiting for."""

import asyncio
from collections.abc import Callable

import pytest

from tests.orders import Orders
from tests.storage.proxy import Cable, cable
from tests.worker import Installation, until

SOON = 12.0  # seconds


@pytest.mark.slow
@pytest.mark.parametrize("away", [Cable.cut, Cable.hang])
async def test_without_postgres(place: Installation, away: Callable[[Cable], None]) -> None:
    """A commit is under way: it is left to the next owner."""
    orders = Orders()
    async with cable(place.settings.postgres) as (between, dsn):
        worker = await place.start_worker("apply", postgres_dsn=dsn)
        await until(place._owns(worker))
        await place.put([orders.create()])
        await place.drained()
        away(between)
        await place.put([orders.start()])
        await asyncio.sleep(1)

        assert await worker.stop(SOON) == 0

    async with place.worker():
        await place.drained()
    row = await place.db.fetchrow("select status from graph_execution where id = $1", orders.run_id)
    assert row["status"] == "RUNNING"
