"""The bridge as a process of its own: killed, begun anew, and met by a Redis that forgot."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from execstream.devstack import Addresses
from execstream.storage.redis.channels import execution_channel
from execstream.streams.imported import HEADERS
from execstream.streams.topics import EVENTS
from tests.agents.bridging import Listener
from tests.orders import Orders
from tests.worker import PATIENCE, QUICK, Installation, Worker, installation, until


@pytest.mark.slow
async def test_the_bridge_goes_on_where_it_was(stack: Addresses, tmp_path: Path) -> None:
    """Each entry is published once, in order, with the whole state: after kill -9 of the bridge,
    and after Redis forgot the position and the committed offset takes its place.
    """
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


async def test_a_subscriber_receives_messages_of_later_commits(
    stack: Addresses, tmp_path: Path
) -> None:
    """Of 2,000 runs, each second one is created after a subscription to its channel: these 1,000
    messages arrive, and no others do.
    """
    async with (
        installation(stack, tmp_path) as place,
        Redis.from_url(stack.redis_url) as redis,
        redis.pubsub() as subscribed,
        place.worker(),
        bridge(place),
    ):
        received: dict[str, list[str]] = defaultdict(list)  # channels, by the kind of a message
        expected: list[str] = []
        for _ in range(20):
            heard, unheard = ([Orders() for _ in range(50)] for _ in range(2))
            expected += [_channel(place, run) for run in heard]
            await subscribed.subscribe(*expected[-50:])
            await _receive(subscribed, received, "subscribe", len(expected))
            await place.put(
                run.create() for pair in zip(heard, unheard, strict=True) for run in pair
            )
        await _receive(subscribed, received, "message", len(expected))
        await until(lambda: committed(place, count=2_000))

    assert sorted(received["message"]) == sorted(expected)


async def test_imported_changes_have_no_message(stack: Addresses, tmp_path: Path) -> None:
    """They are part of the state that the message of the next change shows."""
    orders = Orders()
    past = [orders.create(orders.node("a")), orders.emit("a", data="old")]
    async with (
        installation(stack, tmp_path) as place,
        Redis.from_url(stack.redis_url) as redis,
        Listener(redis, place.settings.redis_prefix) as listener,
        place.worker(),
        bridge(place),
    ):
        await place.put([past[0]])
        heard = await listener.hear(2)
        await place.put([past[1]._replace(headers=HEADERS), orders.emit("a", data="new")])
        heard += await listener.hear(1)

    assert [message["seq"] for message in heard] == [1, 2, 4]
    assert heard[-1]["output_data"] == {"out": ["old", "new"]}


def _channel(place: Installation, run: Orders) -> str:
    return execution_channel(place.settings.redis_prefix, run.user_id, "graph", run.run_id)


async def _receive(
    subscribed: PubSub, received: dict[str, list[str]], kind: str, count: int
) -> None:
    """Note the channels of messages until there are so many of a kind."""
    async with asyncio.timeout(PATIENCE):
        while len(received[kind]) < count:
            message: Any = await subscribed.get_message(timeout=1)
            if message is not None:
                received[message["type"]].append(message["channel"].decode())


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
    """Return whether the group of the bridge has committed so many events to Kafka."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(f"{place.settings.group_prefix}-bridge")
    finally:
        await admin.close()
    return bool(sum(kept.offset for kept in found.values()) == count)
