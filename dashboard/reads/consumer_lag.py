"""Positions of consumers in their topics: those in Postgres, and the bridge's in Redis."""

from collections import Counter
from collections.abc import Mapping

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from execstream.kafka.cluster import Bounds
from execstream.kafka.transactions import PartitionKey
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.topics import EVENTS

APPLY, TALLY, BRIDGE = "apply", "tally", "bridge"

_POSITIONS = "select consumer, topic, partition, next_offset from consumer_offset"


async def load_positions(
    db: asyncpg.Pool, redis: Redis, topic_prefix: str, redis_prefix: str
) -> dict[PartitionKey, dict[str, int]]:
    """The next offset of each consumer, by topic and partition; without the bridge while Redis is
    unavailable.
    """
    found: dict[PartitionKey, dict[str, int]] = {}
    for row in await db.fetch(_POSITIONS):
        found.setdefault((row["topic"], row["partition"]), {})[row["consumer"]] = row["next_offset"]
    topic = topic_prefix + EVENTS.name
    try:
        places = await RedisPositions(redis, redis_prefix, topic).load()
    except (RedisError, OSError):
        return found
    for partition, place in places.items():
        found.setdefault((topic, partition), {})[BRIDGE] = place.next_offset
    return found


def lags(
    bounds: Mapping[PartitionKey, Bounds], positions: Mapping[PartitionKey, Mapping[str, int]]
) -> dict[str, int]:
    """Records that each consumer has yet to read, of the partitions it has begun."""
    behind: Counter[str] = Counter()
    for at, consumers in positions.items():
        for consumer, offset in consumers.items():
            behind[consumer] += max(0, bounds[at].end - offset) if at in bounds else 0
    return dict(sorted(behind.items()))
