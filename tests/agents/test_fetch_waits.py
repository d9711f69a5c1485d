"""Fetches wait long where nothing comes, and briefly where something does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from execstream.agents.runtime.fetch_waits import IDLE, Fetching, wait_longer_when_idle
from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.worker import Installation, until

BUSY = Fetching(min_bytes=64 * 1024, max_wait=100)


@asynccontextmanager
async def watched(place: Installation) -> AsyncIterator[tuple[Any, list[Fetching]]]:
    """A consumer of the commands topic, and how it asked a broker each time."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.settings.kafka)
    await consumer.start()
    fetcher, asked = consumer._fetcher, []
    wait_longer_when_idle(fetcher, BUSY)
    build = fetcher._get_actions_per_node

    def watch(assignment: Any) -> Any:
        requests, *others = build(assignment)
        if requests:
            asked.append(Fetching(fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms))
        return requests, *others

    fetcher._get_actions_per_node = watch
    topic = place.topic(COMMANDS.name)
    consumer.assign([TopicPartition(topic, number) for number in range(COMMANDS.partitions)])
    await consumer.seek_to_beginning()
    try:
        yield consumer, asked
    finally:
        await consumer.stop()


async def test_a_fetch_waits_longer_after_one_without_records(place: Installation) -> None:
    """And does not wait for a second record then; the one after it is as the role wants it."""
    async with watched(place) as (consumer, asked):

        async def is_idle() -> bool:
            await consumer.getmany(timeout_ms=0)
            return bool(asked) and asked[-1] == IDLE

        await until(is_idle)
        assert asked[0] == BUSY
        asked.clear()
        await place.put([Orders().create()])
        assert await consumer.getmany(timeout_ms=60_000)
        await until(is_idle)
        # A row of empty ones comes before the record; the one after it was short.
        assert BUSY in asked


async def test_a_fetch_that_leaves_a_partition_out_is_short(place: Installation) -> None:
    """The broker would not answer for it before."""
    async with watched(place) as (consumer, asked):
        left_out, *_ = sorted(consumer.assignment())
        consumer.pause(left_out)
        asked.clear()

        async def has_asked() -> bool:
            await consumer.getmany(timeout_ms=0)
            return len(asked) > 3

        await until(has_asked)
        assert set(asked) == {BUSY}
