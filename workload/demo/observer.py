"""External observation of the pipeline: Kafka's ends, Postgres's rows, Redis's count."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import NamedTuple, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from execstream.config.settings import Settings
from execstream.kafka.security import client_options
from execstream.storage.connections import connect
from execstream.storage.redis.positions import RedisPositions
from execstream.streams.topics import CATALOGUE, COMMANDS, EVENTS

Offsets = Mapping[int, int]  # by partition


class Outcomes(NamedTuple):
    """The number of commands with each outcome, of all time."""

    applied: int
    duplicate: int
    refused: int
    dead: int
    quarantined: int

    def since(self, before: "Outcomes") -> "Outcomes":
        """The numbers since then."""
        return Outcomes(*(now - then for now, then in zip(self, before, strict=True)))


class Judged(NamedTuple):
    """Outcomes of all commands so far, and the next offset by partition."""

    outcomes: Outcomes
    places: Offsets


_OUTCOMES = """
select partition, next_offset, applied, duplicate, refused, dead, quarantined
  from consumer_offset where consumer = 'apply' and topic = $1
"""
_POSITIONS = """
select partition, next_offset from consumer_offset where consumer = $1 and topic = $2
"""
_BASES = "select partition, base from consumer_offset where consumer = 'apply' and topic = $1"
_STATUSES = """
select status, count(*) from graph_execution where created_at >= $1 group by status
"""
# Every entry, refusal and key-value gives one event. Sources count from a partition's base.
_EVENTS_DUE = """
with first as (
    select partition, x.first + base as first
      from consumer_offset join unnest($2::int[], $3::bigint[]) as x(p, first) on partition = x.p
     where consumer = 'apply' and topic = $1
)
select sum((select count(*) from journal
             where source_partition = partition and source_offset >= first)
         + (select count(*) from refusal
             where source_partition = partition and source_offset >= first)
         + (select count(*) from kv_journal
             where source_partition = partition and source_offset >= first))::bigint
  from first
"""


class Observer:
    """Looks, and changes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._commands = settings.topic_prefix + COMMANDS.name
        self._events = settings.topic_prefix + EVENTS.name
        self._catalogue = settings.topic_prefix + CATALOGUE.name
        self._resources = AsyncExitStack()
        self._db: asyncpg.Pool
        self._kafka: AIOKafkaConsumer
        self._redis: RedisPositions

    async def __aenter__(self) -> Self:
        settings, resources = self._settings, self._resources
        self._db = await connect(settings.postgres, settings.schema_)
        resources.push_async_callback(self._db.close)
        self._kafka = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            group_id=None,
            **client_options(),
        )
        resources.push_async_callback(self._kafka.stop)
        await self._kafka.start()
        redis = await resources.enter_async_context(Redis.from_url(settings.redis))
        self._redis = RedisPositions(redis, settings.redis_prefix, self._events)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def judged(self) -> Judged:
        """Outcomes of all commands so far."""
        rows = await self._db.fetch(_OUTCOMES, self._commands)
        outcomes = (sum(row[name] for row in rows) for name in Outcomes._fields)
        return Judged(Outcomes(*outcomes), {row["partition"]: row["next_offset"] for row in rows})

    async def bases(self) -> Offsets:
        """The numbers added to Kafka's offsets in sources, by partition."""
        return dict(await self._db.fetch(_BASES, self._commands))

    async def applied(self, ends: Offsets) -> bool:
        """Return whether the workers have reached these ends of the commands."""
        return await self._reached("apply", self._commands, ends)

    async def catalogued(self, ends: Offsets) -> bool:
        """Return whether the workers have reached these ends of the catalogue."""
        return await self._reached("catalogue", self._catalogue, ends)

    async def _reached(self, consumer: str, topic: str, ends: Offsets) -> bool:
        rows = await self._db.fetch(_POSITIONS, consumer, topic)
        positions = {row["partition"]: row["next_offset"] for row in rows}
        return all(positions.get(partition, 0) >= end for partition, end in ends.items())

    async def statuses(self, since: datetime) -> Counter[str]:
        """The number of runs created since then, by status."""
        return Counter({row[0]: row[1] for row in await self._db.fetch(_STATUSES, since)})

    async def events_due(self, begins: Offsets) -> int:
        """The number of events that must have been published for commands from these offsets on."""
        due = await self._db.fetchval(
            _EVENTS_DUE, self._commands, list(begins), list(begins.values())
        )
        return int(due or 0)

    async def event_ends(self) -> dict[int, int]:
        """The ends of the events topic."""
        partitions = range(EVENTS.partitions)
        wanted = [TopicPartition(self._events, partition) for partition in partitions]
        ends = await self._kafka.end_offsets(wanted)
        return {place.partition: end for place, end in ends.items()}

    async def published(self) -> int:
        """The number of events that the bridge has published or found without a subscriber, as far
        as Redis remembers.
        """
        return await self._redis.published()

    async def tallied(self, ends: Offsets) -> bool:
        """Return whether the tally has reached these ends of the events."""
        return await self._reached("tally", self._events, ends)

    async def bridged(self, ends: Offsets) -> bool:
        """Return whether the bridge has reached these ends of the events."""
        places = await self._redis.load()
        positions = {partition: place.next_offset for partition, place in places.items()}
        return all(positions.get(partition, 0) >= end for partition, end in ends.items() if end)
