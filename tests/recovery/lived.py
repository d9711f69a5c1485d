"""An installation that has lived: commands of every kind went through real workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from execstream.devstack import Addresses
from execstream.recovery.replay.bounds import Asked
from execstream.recovery.replay.replay_into import Report, replay_into
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import load_graphs
from tests.agents.tallied import counted
from tests.faults.feeding import small_records
from tests.orders import Order, Orders
from tests.whole.bad_records import DEAD
from tests.worker import HOME, Installation, Worker, installation, until

GRAPHS = HOME / "examples" / "graphs"
FROM_TOPICS = Asked("topics", {}, {})
FROM_JOURNAL = Asked("journal", {}, {})
SMALL = 100_000  # bytes of a bad record that is put


def simulated(count: int, seed: int = 1) -> list[Order]:
    """Commands of simulated runs, with duplicates, illegal moves and malformed ones."""
    records = islice(small_records(load_graphs(GRAPHS), seed), count)
    return [Order(record.key, record.value) for record in records]


def bad() -> list[Order]:
    """Records of every bad kind, but for the largest, with the commands that lead there."""
    return [
        order
        for case in DEAD.values()
        for order in case.make(Orders())
        if len(order.value or b"") < SMALL
    ]


def special() -> list[Order]:
    """A run of long ago, a key-value that is written several times, and users with one each."""
    old, writer = Orders(), Orders(user_id="eve")
    late = {"at": "2020-01-01T00:00:00Z"}
    return [
        old.create(old.node("a"), **late),
        *(writer.keep("k", 1), writer.keep("k", 2), writer.keep("k", 0, **late)),
        *(Orders(user_id=f"writer-{number}").keep("k") for number in range(12)),
    ]


def erased() -> list[Order]:
    """A run that is erased when its step has been counted."""
    orders = Orders()
    return [
        *(orders.create(orders.node("a")), orders.start(), orders.move_step("a", "RUNNING")),
        *(orders.move_step("a", "FAILED"), orders.order("graph.delete", hard=True)),
        orders.start(),
    ]


@asynccontextmanager
async def lived(stack: Addresses, folder: Path, count: int) -> AsyncIterator[Installation]:
    """An installation through which commands of all kinds went, `count` of them simulated, with
    workers of roles apply and tally running."""
    async with installation(stack, folder) as place, place.worker(), tallying(place):
        await place.put([*bad(), *special(), *simulated(count)])
        await place.drained()
        await counted(place)
        yield place


@asynccontextmanager
async def tallying(place: Installation) -> AsyncIterator[Worker]:
    """A worker of role tally that has begun, and must still be alive at the end."""
    worker = await place.start_worker("tally")

    async def owns() -> bool:
        assert worker.is_alive, worker.log()[-5:]
        return bool(worker.said("owns"))

    try:
        await until(owns)
        yield worker
        assert worker.is_alive, worker.log()[-5:]
    finally:
        await worker.stop()


def untold(what: str, done: int, total: int) -> None:
    """Progress without a display."""


async def replayed(
    place: Installation,
    schema: str,
    asked: Asked = FROM_TOPICS,
    tell: ProgressCallback = untold,
    *,
    swapping: bool = False,
    force: bool = False,
) -> Report:
    """The report of a replay into `schema`."""
    return await replay_into(place.settings, schema, asked, tell, swapping=swapping, force=force)


async def drop(db: asyncpg.Pool, *schemas: str) -> None:
    for schema in schemas:
        await db.execute(f"set client_min_messages = error; drop schema if exists {schema} cascade")


async def delete_before(place: Installation, offsets: dict[int, int]) -> None:
    """Delete commands by partition, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    topic = place.topic(COMMANDS.name)
    try:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(offset) for p, offset in offsets.items()}
        )
    finally:
        await admin.close()
