"""Restarts and migrations beside workers that go on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.agents.worker import Timing
from execstream.devstack import Addresses
from execstream.storage.schema.tables import RUNS, STEPS
from tests.orders import Orders
from tests.worker import Installation, Worker, installation, until

PATIENT = Timing(session_timeout=45)  # a busy machine may take long for a restart


@pytest.fixture
async def own(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as made:
        yield made


async def send_runs(own: Installation, count: int = 20) -> None:
    """Send the first two commands of so many runs, and return when they are committed."""
    runs = [Orders() for _ in range(count)]
    await own.put([order for run in runs for order in (run.create(), run.start())])
    await own.drained()


async def test_columns_that_are_added(own: Installation) -> None:
    """A worker goes on when a migration of another release adds columns to tables it writes to."""
    async with own.worker() as worker:
        await send_runs(own)
        for table in (RUNS, STEPS):
            await own.db.execute(f"alter table {table.name} add column later text")
        await send_runs(own)
        assert worker.said("retry"), "the connection knew the columns already"
    assert await own.db.fetchval("select count(*) from graph_execution") == 40


async def has_all(own: Installation, *workers: Worker) -> bool:
    """Whether these workers have all partitions, each some."""
    shares = [own.partitions_of(worker) for worker in workers]
    return all(shares) and sum(map(len, shares)) == len(frozenset().union(*shares)) == 8


def rebalances(worker: Worker) -> int:
    """How often the worker had to join its group again."""
    return sum("it is rebalancing" in line["event"] for line in worker.log())


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_restart_under_the_same_name(own: Installation, *, is_killed: bool) -> None:
    """With an instance of its own, a worker gets its partitions back, and the other one does not
    notice.
    """
    async with own.worker(group_instance="first", timing=PATIENT) as first:
        second = await own.start_worker("apply", group_instance="second", timing=PATIENT)
        await until(lambda: has_all(own, first, second))
        before, share = rebalances(first), own.partitions_of(second)
        await (second.kill() if is_killed else second.stop())
        async with own.worker(group_instance="second", timing=PATIENT) as again:
            await until(lambda: has_all(own, first, again))
            await send_runs(own)
            assert own.partitions_of(again) == share
            assert rebalances(first) == before
