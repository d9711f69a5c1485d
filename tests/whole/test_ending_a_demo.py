"""A demo that is asked to end does so within a bounded time, whatever is left to do."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from execstream.workload.demo import Demo, Receipt, performance
from execstream.workload.simulation import load_graphs
from tests.upgrade.running_stack import GRAPHS
from tests.worker import Installation, Worker, until

SEED = 3


@pytest.fixture
async def halted(worker: Worker) -> AsyncIterator[Worker]:
    """The worker, which is let go on at the end."""
    yield worker
    worker.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def performing(
    place: Installation, folder: Path, stop: asyncio.Future[int]
) -> AsyncIterator[tuple[Demo, asyncio.Task[None]]]:
    """A demo that sends as fast as it goes."""
    demo = Demo(load_graphs(GRAPHS), None, 0, SEED, folder / "demo.jsonl")
    demo.write()
    running = asyncio.create_task(demo.perform(place.settings, stop))
    yield demo, running
    await running


async def receipt_of(demo: Demo, place: Installation) -> Receipt:
    return await demo.receipt(place.settings, {}, lambda _done, _total: None)


async def test_while_workers_hang(
    place: Installation, halted: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that they did not reach wait for them, and count neither as lost nor as wrong."""
    monkeypatch.setattr(performance, "ENDING", 2.0)
    stop = asyncio.get_running_loop().create_future()

    async with performing(place, tmp_path, stop) as (demo, _):

        async def has_applied() -> bool:
            return demo.outcomes.applied > 100

        await until(has_applied)
        halted.process.send_signal(signal.SIGSTOP)
        stop.set_result(0)
    receipt = await receipt_of(demo, place)

    assert receipt.waiting > 0
    assert (receipt.lost, receipt.differences) == (0, [])
    assert receipt.acknowledged == receipt.sent
    assert receipt.is_good


@pytest.mark.slow
async def test_while_rows_are_compared(
    place: Installation, halted: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt has the number of commands without a comparison of rows."""
    stop = asyncio.get_running_loop().create_future()

    async with performing(place, tmp_path, stop) as (demo, _):

        async def has_applied() -> bool:
            return demo.outcomes.applied > 100

        await until(has_applied)
        stop.set_result(0)
    monkeypatch.setattr(performance, "ENDING", 0.0)
    receipt = await receipt_of(demo, place)

    assert receipt.unchecked > 0
    assert (receipt.lost, receipt.waiting, receipt.differences) == (0, 0, [])
