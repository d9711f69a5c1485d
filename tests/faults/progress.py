"""Positions of consumers, by partition; None while they are unknown."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from execstream.storage.redis.positions import RedisPositions
from execstream.streams.topics import COMMANDS, EVENTS
from tests.worker import Installation

ANSWER = 3.0  # seconds a server has to answer

Offsets = Mapping[int, int]
Progress = Callable[[], Awaitable[Offsets | None]]


def from_postgres(place: Installation) -> Progress:
    """The applied positions."""
    statement = (
        f"select partition, next_offset from {place.settings.schema_}.consumer_offset"
        " where consumer = 'apply'"
        f" and topic = '{place.topic(COMMANDS.name)}'"
    )

    async def progress() -> Offsets | None:
        try:
            connection = await asyncpg.connect(place.settings.postgres, timeout=ANSWER)
            try:
                rows = await connection.fetch(statement, timeout=ANSWER)
            finally:
                connection.terminate()
            return {row["partition"]: row["next_offset"] for row in rows}
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        except asyncpg.InternalClientError:  # killed under the query
            return None

    return progress


def from_redis(place: Installation) -> Progress:
    """The position of the bridge."""
    settings = place.settings

    async def progress() -> Offsets | None:
        redis: Redis = Redis.from_url(settings.redis, socket_timeout=ANSWER)
        positions = RedisPositions(redis, settings.redis_prefix, place.topic(EVENTS.name))
        try:
            places = await positions.load()
            return {partition: place.next_offset for partition, place in places.items()}
        except (RedisError, OSError):
            return None
        finally:
            await redis.aclose()

    return progress


def ends_of(place: Installation, name: str) -> Progress:
    """The ends of a topic that has as many partitions as that of events."""
    partitions = [TopicPartition(place.topic(name), number) for number in range(EVENTS.partitions)]

    async def ends() -> Offsets | None:
        reader = AIOKafkaConsumer(bootstrap_servers=place.settings.kafka, enable_auto_commit=False)
        try:
            async with asyncio.timeout(ANSWER):
                await reader.start()
                offsets = await reader.end_offsets(partitions)
            return {tp.partition: end for tp, end in offsets.items()}
        except (KafkaError, TimeoutError, OSError):
            return None
        finally:
            await reader.stop()

    return ends
