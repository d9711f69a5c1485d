"""Positions of consumers in their topics, and moves for those outside of them."""

from typing import NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from redis.asyncio import Redis

from execstream.kafka.reader import Extent, extent
from execstream.kafka.security import client_options
from execstream.recovery.offsets.offset_rows import (
    Stored,
    rebase_commands,
    rewind,
    skip_to,
    stored_positions,
)
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.errors import Fatal
from execstream.streams.topics import CATALOGUE, COMMANDS, EVENTS, Topic

BRIDGE = "bridge"
_READ_BY = {COMMANDS.name: "apply", CATALOGUE.name: "catalogue", EVENTS.name: "tally"}


class InsideTheTopic(Fatal):
    """The topic shows no sign of having been recreated, or having overtaken its consumers."""


class Position(NamedTuple):
    """The position of a consumer in a partition; `begin` and `end`: None when the partition does
    not exist.
    """

    consumer: str
    topic: str
    partition: int
    next_offset: int
    base: int
    begin: int | None
    end: int | None

    @property
    def state(self) -> str:
        """inside, below (retention overtook it), above (recreated?) or missing (no partition)."""
        if self.begin is None or self.end is None:
            return "missing"
        if self.next_offset < self.begin:
            return "below"
        return "above" if self.next_offset > self.end else "inside"

    @property
    def lag(self) -> int | None:
        return None if self.end is None else max(0, self.end - self.next_offset)


async def stored_in_redis(redis: Redis, prefix: str, topic: str) -> list[Stored]:
    """Positions of the bridge."""
    places = await RedisPositions(redis, prefix, topic).load()
    return [
        Stored(BRIDGE, topic, partition, place.next_offset, 0, *(place.source or (0, -1, -1))[1:])
        for partition, place in sorted(places.items())
    ]


async def placed(reader: AIOKafkaConsumer, stored: list[Stored]) -> list[Position]:
    """`stored` positions beside the ranges of the topics now."""
    extents: dict[str, Extent] = {}
    for topic in {one.topic for one in stored}:
        extents[topic] = await extent(reader, topic)
    return [
        Position(
            *one[:5],
            extents[one.topic].first.get(one.partition),
            extents[one.topic].end.get(one.partition),
        )
        for one in stored
    ]


async def rebase(
    pool: asyncpg.Pool, positions: list[Position], topic: Topic, prefix: str, *, forced: bool
) -> None:
    """Reset the consumers in Postgres of the recreated `topic` to its beginning.

    Raises InsideTheTopic when all positions are inside it, unless `forced`.
    """
    name = prefix + topic.name
    if not forced and all(one.state == "inside" for one in positions if one.topic == name):
        raise InsideTheTopic(
            f"All positions are inside {name}: it does not look as if it was made again. Pass "
            "--force if you know that it was."
        )
    if topic is COMMANDS:
        await rebase_commands(pool, name)
    else:
        await rewind(pool, _READ_BY[topic.name], name)


async def skip(
    pool: asyncpg.Pool, redis: Redis, redis_prefix: str, positions: list[Position], topic: str
) -> list[Position]:
    """Move the consumers of `topic` that its retention overtook to the first record that is left;
    return their old positions. Raises InsideTheTopic when there are none.
    """
    below = [one for one in positions if one.topic == topic and one.state == "below"]
    if not below:
        raise InsideTheTopic(f"No position is below the beginning of {topic}.")
    begins = {one.partition: one.begin or 0 for one in below}
    for consumer in {one.consumer for one in below} - {BRIDGE}:
        await skip_to(pool, consumer, topic, begins)
    if any(one.consumer == BRIDGE for one in below):
        await RedisPositions(redis, redis_prefix, topic).skip_to(begins)
    return below


async def rewind_bridge(
    redis: Redis, redis_prefix: str, bootstrap: str, group: str, positions: list[Position]
) -> None:
    """Have the bridge read the new topic of events from its beginning: forget its position, and
    the one that its group keeps in Kafka."""
    topics = {one.topic for one in positions if one.consumer == BRIDGE}
    for topic in topics:
        await redis.delete(RedisPositions(redis, redis_prefix, topic).key)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **client_options())
    await admin.start()
    try:
        kept = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    parts = [tp for tp, offset in kept.items() if tp.topic in topics and offset.offset > 0]
    if parts:
        await _commit(bootstrap, group, parts)


async def _commit(bootstrap: str, group: str, parts: list[TopicPartition]) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, **client_options(), group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(parts)
        await consumer.commit({tp: OffsetAndMetadata(0, "") for tp in parts})
    finally:
        await consumer.stop()


async def all_positions(
    reader: AIOKafkaConsumer, pool: asyncpg.Pool, redis: Redis, redis_prefix: str, events: str
) -> list[Position]:
    """The positions of all consumers."""
    stored = await stored_positions(pool) + await stored_in_redis(redis, redis_prefix, events)
    return await placed(reader, stored)
