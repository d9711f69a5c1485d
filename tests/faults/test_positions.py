"""Positions that do not fit the topic.

A worker steps over transaction markers. Before it passes over a possible record, it stops at once,
with exit code 70 and the reason.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from execstream.agents.runtime.fetch_waits import IDLE
from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS
from tests.faults.patience import reached
from tests.faults.points import Plan, Point
from tests.faults.progress import from_postgres
from tests.faults.workers import Worker
from tests.orders import Order, Orders
from tests.worker import Installation, installation, transacting, until


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as fresh:
        yield fresh


@asynccontextmanager
async def working(place: Installation, plan: Plan | None = None) -> AsyncIterator[Worker]:
    """A worker of role `apply`, which may end."""
    log = place.folder / f"{uuid4()}.log"
    worker = Worker("apply", place.settings, log, iter([plan or {}]))
    worker.begin()
    try:
        yield worker
        await worker.stop()  # the next one need not wait for the end of its session
    finally:
        await worker.abandon()


def ended(worker: Worker, words: str) -> Callable[[], Awaitable[bool]]:
    """Return whether the worker has stopped with exit code 70 and these last words."""

    async def has_ended() -> bool:
        return any("ended with 70" in end and words in end for end in worker.unplanned)

    return has_ended


async def drained(place: Installation) -> None:
    """Return when everything put so far is committed."""
    goal = {partition: offset + 1 for partition, offset in place.puts}
    await reached("apply", from_postgres(place), goal)


async def delete_records(place: Installation, partition: int, before: int) -> None:
    """Delete records as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        commands = TopicPartition(place.topic(COMMANDS.name), partition)
        await admin.delete_records({commands: RecordsToDelete(before)})
    finally:
        await admin.close()


async def send(producer: AIOKafkaProducer, place: Installation, order: Order) -> None:
    topic, partition = place.topic(COMMANDS.name), place.partition_of(order)
    await producer.send_and_wait(topic, order.value, order.key, partition)


async def test_transactions(place: Installation) -> None:
    """Committed records of a transaction are applied, aborted ones are not, and the markers between
    are stepped over.
    """
    orders = Orders()

    async with working(place) as worker, transacting(place) as producer:
        async with producer.transaction():
            await send(producer, place, orders.create())
        await until(lambda: found(place, "select status from graph_execution"))
        await producer.begin_transaction()
        await send(producer, place, orders.move("FAILED"))
        await producer.abort_transaction()
        async with producer.transaction():
            await send(producer, place, orders.start())
        await place.put([orders.move("COMPLETED")])
        await until(lambda: found(place, "select ended_at from graph_execution"))

    moves = await place.db.fetch("select status from journal order by seq")
    assert [row["status"] for row in moves] == ["INCOMPLETE", "RUNNING", "COMPLETED"]
    assert worker.told()["stepped_over_hole"] > 0


async def test_a_stored_position_beyond_the_end(place: Installation) -> None:
    """The topic does not reach the position: it was made anew, and to wait for the position would
    be to pass over its first records."""
    orders = Orders()
    await place.put([orders.create(), orders.start()])
    async with working(place):
        await drained(place)
    await place.db.execute("update consumer_offset set next_offset = next_offset + 1_000")

    async with working(place) as worker:
        await until(ended(worker, "The stored position is not in the topic"))


async def test_a_stored_position_before_the_beginning(place: Installation) -> None:
    """Retention has deleted records while no worker ran."""
    orders = Orders()
    await place.put([orders.create()])
    async with working(place):
        await drained(place)
    [_, (partition, last)] = await place.put([orders.start(), orders.move("COMPLETED")])
    await delete_records(place, partition, before=last)

    async with working(place) as worker:
        await until(ended(worker, "The stored position is not in the topic"))


async def test_retention_overtakes_a_worker(place: Installation) -> None:
    """Retention has deleted records while the worker stood still."""
    orders = Orders()
    await place.put([orders.create()])

    async with working(place) as worker:
        await drained(place)
        worker.freeze()
        # Until Kafka has answered its last fetch.
        await asyncio.sleep(4 * IDLE.max_wait / 1000)
        [_, (partition, last)] = await place.put([orders.start(), orders.move("COMPLETED")])
        await delete_records(place, partition, before=last)
        worker.thaw()
        await until(ended(worker, "The topic's retention overtook the worker"))


@pytest.mark.slow
async def test_a_consumer_that_moved_back_unasked(place: Installation) -> None:
    """Records come again without a seek: the worker stops, and goes on when it is started again;
    none of them counts twice.
    """
    orders = Orders()
    await place.put([orders.create(), orders.start()])

    async with working(place, {Point.MOVED_BACK: [1]}) as worker:
        await until(ended(worker, "The consumer moved back unasked"))
        await place.put([orders.move("COMPLETED")])
        await drained(place)

    assert await found(place, "select status from graph_execution") == "COMPLETED"
    assert await found(place, "select sum(applied) from consumer_offset") == 3


async def found(place: Installation, query: str) -> Any:
    return await place.db.fetchval(query)
