"""Names and positions of everything that an installation stores in Kafka, Postgres and Redis."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from execstream.kafka.reader import consumer, extent, records
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.events import Source
from execstream.streams.topics import EVENTS
from tests.worker import Installation

Offsets = dict[int, int]  # by partition
Names = frozenset[str]
Committed = dict[str, dict[tuple[str, int], int]]  # by group, then by topic and partition

OUTCOMES = ("applied", "duplicate", "refused", "dead")


class _Event(msgspec.Struct):
    source: Source


_decode = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True)
class StoredState:
    """One snapshot.

    Attributes:
        topics: internal ones among them.
        consumers: rows of `consumer_offset`, by consumer, topic and partition.
        keys: all of Redis.
        bridge: next offsets of the bridge, from Redis.
        messages: how many the bridge has published.
        sources: those of the events topic in its order, by partition.
    """

    topics: Names
    groups: Committed
    schemas: Names
    migrations: list[tuple[Any, ...]]
    consumers: Mapping[tuple[str, str, int], Mapping[str, Any]]
    keys: Names
    bridge: Offsets
    messages: int
    sources: Mapping[int, list[Source]]

    def next_offsets(self, consumer: str) -> dict[str, Offsets]:
        """Next offsets of a consumer in Postgres, by topic."""
        found: dict[str, Offsets] = {}
        for (name, topic, partition), row in self.consumers.items():
            if name == consumer:
                found.setdefault(topic, {})[partition] = row["next_offset"]
        return found

    def published(self) -> dict[int, Source]:
        """Sources of the last events that Postgres has as published, by partition."""
        return {
            partition: (partition, row["published_offset"], row["published_index"])
            for (name, _, partition), row in self.consumers.items()
            if name == "apply"
        }

    def outcomes(self) -> dict[str, int]:
        """Counts of commands by outcome."""
        rows = [row for (name, _, _), row in self.consumers.items() if name == "apply"]
        return {outcome: sum(row[outcome] for row in rows) for outcome in OUTCOMES}


async def read_stored_state(place: Installation) -> StoredState:
    """Read everything as it is now."""
    topics, groups = await _read_kafka(place.settings.kafka)
    keys, bridge, messages = await _read_redis(place)
    schemas = await place.db.fetch("select nspname from pg_namespace where nspname !~ '^pg_'")
    migrations = await place.db.fetch("select * from migration order by version")
    rows = await place.db.fetch("select * from consumer_offset")
    return StoredState(
        topics=topics,
        groups=groups,
        schemas=frozenset(row["nspname"] for row in schemas),
        migrations=[tuple(row) for row in migrations],
        consumers={(row["consumer"], row["topic"], row["partition"]): dict(row) for row in rows},
        keys=keys,
        bridge=bridge,
        messages=messages,
        sources=await _published_sources(place),
    )


async def _read_kafka(bootstrap: str) -> tuple[Names, Committed]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        groups = {}
        for name, *_ in await admin.list_consumer_groups():
            offsets = await admin.list_consumer_group_offsets(name)
            groups[name] = {(tp.topic, tp.partition): at.offset for tp, at in offsets.items()}
        return frozenset(await admin.list_topics()), groups
    finally:
        await admin.close()


async def read_bridge_offsets(place: Installation) -> Offsets:
    """Next offsets of the bridge, from Redis."""
    return (await _read_redis(place))[1]


async def _read_redis(place: Installation) -> tuple[Names, Offsets, int]:
    redis: Redis = Redis.from_url(place.settings.redis)
    positions = RedisPositions(redis, place.settings.redis_prefix, place.topic(EVENTS.name))
    try:
        keys = frozenset([key.decode() async for key in redis.scan_iter()])
        bridge = {number: at.next_offset for number, at in (await positions.load()).items()}
        return keys, bridge, await positions.published()
    finally:
        await redis.aclose()


async def _published_sources(place: Installation) -> dict[int, list[Source]]:
    topic = place.topic(EVENTS.name)
    found: dict[int, list[Source]] = {}
    async with consumer(place.settings.kafka) as reader:
        held = await extent(reader, topic)
        for partition, first in held.first.items():
            found[partition] = []
            async for some in records(reader, topic, partition, first, held.end[partition]):
                found[partition] += [_decode(record.value).source for record in some]
    return found


_OF_RUNS = "select source_partition, source_offset, source_index from journal"
_OF_ALL = f"""
{_OF_RUNS}
union all select source_partition, source_offset, 0 from refusal
union all select source_partition, source_offset, 0 from kv_journal
"""


async def committed_sources(
    place: Installation, *, only_of_runs: bool = False
) -> dict[int, list[Source]]:
    """Sources of all events that are due for committed commands, in order, by partition."""
    found: dict[int, list[Source]] = {number: [] for number in range(EVENTS.partitions)}
    rows = await place.db.fetch(f"{_OF_RUNS if only_of_runs else _OF_ALL} order by 1, 2, 3")
    for partition, offset, index in rows:
        found[partition].append((partition, offset, index))
    return found


def first_positions(logs: Path, role: str) -> dict[str, Offsets]:
    """Offsets from which a worker of `execstream up` first read, by topic, from its log."""
    found: dict[str, Offsets] = {}
    for line in (logs / f"worker-{role}.log").read_text().splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("event") == "owns":
            first = found.setdefault(entry["topic"], {})
            for partition, offset in entry["positions"].items():
                first.setdefault(int(partition), offset)
    return found
