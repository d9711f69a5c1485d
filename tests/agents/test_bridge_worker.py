"""The bridge as a process of its own: killed, begun anew, and met by a Redis that forgot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from execstream.devstack import Addresses
from execstream.streams.topics import EVENTS
from tests.agents.bridging import Listener
from tests.orders import Orders
from tests.worker import QUICK, Installation, Worker, installation, until


async def test_the_bridge_goes_on_where_it_was(stack: Addresses, tmp_path: Path) -> None:
    """Each entry is told once, in order, with the whole state: after kill -9 of the bridge, and
    after Redis forgot the position and the committed offset takes its place."""
    orders = Orders()
    async with (
        installation(stack, tmp_path) as place,
        Redis.from_url(stack.redis_url) as redis,
        Listener(redis, place.settings.redis_prefix) as listener,
        place.worker(),
    ):
        async with bridge(place) as first:
            await place.put([orders.create(), orders.give("a", data=1.5), orders.emit("a")])
            heard = await listener.hear(4)
            await first.kill()
        await place.put([orders.emit("a", data="more"), orders.move_step("a", "RUNNING")])
        async with bridge(place):
            heard += await listener.hear(2)
            await until(lambda: committed(place, count=6))
        await redis.delete(f"{place.settings.redis_prefix}execution_bridge/{events_topic(place)}")
        await place.put([orders.move_step("a", "COMPLETED")])
        async with bridge(place):
            heard += await listener.hear(1)

    assert [message["seq"] for message in heard] == [1, 2, 3, 4, 5, 6, 7]
    last = heard[-1]
    assert (last["status"], last["input_data"]) == (
        "COMPLETED",
        {"in": heard[2]["input_data"]["in"]},
    )
    assert last["output_data"] == {"out": [1, "more"]}


@asynccontextmanager
async def bridge(place: Installation) -> AsyncIterator[Worker]:
    """A bridge, from when it has claimed the events topic; stopped at the end."""
    worker = await place.start_worker("bridge", timing=QUICK)
    try:

        async def owns() -> bool:
            assert worker.is_alive, worker.log()
            return bool(worker.said("owns"))

        await until(owns)
        yield worker
    finally:
        await worker.stop()


def events_topic(place: Installation) -> str:
    return place.topic(EVENTS.name)


async def committed(place: Installation, count: int) -> bool:
    """Whether the group of the bridge has told Kafka of so many events."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(f"{place.settings.group_prefix}-bridge")
    finally:
        await admin.close()
    return bool(sum(kept.offset for kept in found.values()) == count)
