"""Republishing of events from the journal, for consumers that lost theirs.

Events come in the order of their sources within a partition, each marked as replayed; a consumer
that drops by `source` or `seq` sees each once. Neither the topic of the events nor the bridge's
position is touched, so that live consumers notice nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import asyncpg
from msgspec import UNSET
from redis.asyncio import Redis

from execstream.config.settings import Settings
from execstream.kafka.last_records import last_values
from execstream.kafka.producer import BulkProducer
from execstream.recovery.rate_limit import RateLimiter
from execstream.recovery.replay.offset_points import Point
from execstream.recovery.republish.journal_sources import Reach, reaches, sources_at
from execstream.storage.log.events import StoredEvent, events_after
from execstream.storage.log.run_history import load_interface_blocks
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.messages.view_loading import recall
from execstream.streams.errors import Fatal
from execstream.streams.events import Event, decode_event
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS, EVENTS

REPLAYED = ("replayed", b"true")  # header of every record
MOST_AT_ONCE = 1_000  # events


class NotThere(Fatal):
    """Events cannot be published at the given destination."""


class Sink(Protocol):
    """A destination of events."""

    async def publish(self, partition: int, events: Sequence[StoredEvent]) -> None:
        """Return when they are published."""


class TopicSink:
    """A topic with at least the partitions of the events' own."""

    def __init__(self, producer: BulkProducer) -> None:
        self._producer = producer

    async def publish(self, partition: int, events: Sequence[StoredEvent]) -> None:
        for event in events:
            await self._producer.add(event.key, event.value, partition, [REPLAYED])
        await self._producer.flush()


class RedisSink:
    """The channels of the runs; refusals and key-values have none."""

    def __init__(self, redis: Redis, views: RunViews, connection: asyncpg.Connection) -> None:
        self._redis = redis
        self._views = views
        self._connection = connection

    async def publish(self, partition: int, events: Sequence[StoredEvent]) -> None:  # noqa: ARG002
        published = [event for one in events if (event := decode_event(one.value)).seq is not UNSET]
        unreadable = await recall(self._connection, self._views, self._views.missing(published))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for event in published:
                unreadable |= await self._catch_up(event, unreadable)
                if event.graph_exec_id not in unreadable:
                    pipeline.publish(*self._views.message_for(event))
            await pipeline.execute()
        self._views.trim()

    async def _catch_up(self, event: Event, unreadable: Collection[str]) -> set[str]:
        """Entries are missing where a run was erased."""
        run_id = str(event.graph_exec_id)
        if event.seq == 1 or run_id in unreadable or not self._views.lacks(event):
            return set()
        return await recall(self._connection, self._views, {run_id: event})


async def check_topic(settings: Settings, topic: str, partitions: int) -> None:
    """Raises NotThere when `topic` is unsuitable: too few partitions, or the topic of the events
    itself, whose consumers would drop events older than its last one.
    """
    if partitions < EVENTS.partitions:
        raise NotThere(
            f"{topic} has {partitions} partitions, and events keep theirs: make it with "
            f"{EVENTS.partitions}."
        )
    if topic == settings.topic_prefix + EVENTS.name and await last_values(
        settings.kafka, topic, range(EVENTS.partitions)
    ):
        raise NotThere(
            f"{topic} has events already, and its consumers drop older ones: seek in it "
            "instead, or name another topic."
        )


async def open_redis_sink(
    settings: Settings, redis: Redis, connection: asyncpg.Connection
) -> RedisSink:
    """A sink on the channels of this installation."""
    views = RunViews(settings.redis_prefix, settings.max_message_bytes, replayed=True)
    views.block_types = await load_interface_blocks(connection)
    return RedisSink(redis, views, connection)


class Republishing:
    """Goes through the partitions in turn, a page of each.

    Attributes:
        published: number of published events.
        reach: positions of the schema, by partition.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        sinks: Sequence[Sink],
        limiter: RateLimiter,
        spans: Mapping[int, tuple[int, int]],
        reach: Mapping[int, Reach],
    ) -> None:
        """`spans`: by partition, sources from the first up to, not including, the second."""
        self.published = 0
        self.reach = reach
        self._connection = connection
        self._sinks = sinks
        self._limiter = limiter
        self._after = {number: (begin, -1) for number, (begin, _) in spans.items()}
        self._spans = spans

    @property
    def goes_on_at(self) -> str:
        """The position to continue from after an interruption, as `--from` takes it: below zero
        where it is in the topic of commands that was before this one.
        """
        places = [
            f"{number}:{offset - self.reach[number].base}"
            for number, (offset, _) in sorted(self._after.items())
        ]
        return ",".join(places)

    async def run(self, publish: ProgressCallback) -> None:
        """Publish everything; `publish` receives the progress in commands."""
        total = sum(max(0, end - begin) for begin, end in self._spans.values())
        left = set(self._spans)
        while left:
            for number in sorted(left):
                end = self._spans[number][1]
                page = await events_after(self._connection, number, self._after[number], end)
                await self._publish(number, page.events)
                if page.last is None:
                    left.discard(number)
                    self._after[number] = (max(end, self._after[number][0]), -1)
                else:
                    self._after[number] = page.last
                done = sum(self._after[one][0] - self._spans[one][0] for one in self._spans)
                publish("commands", done, total)

    async def _publish(self, partition: int, page: Sequence[StoredEvent]) -> None:
        size = self._limiter.burst(MOST_AT_ONCE)
        for start in range(0, len(page), size):
            events = page[start : start + size]
            await self._limiter.wait(len(events))
            for sink in self._sinks:
                await sink.publish(partition, events)
            self.published += len(events)
            self._after[partition] = events[-1].place


async def spans_of(
    connection: asyncpg.Connection, settings: Settings, begin: Point, until: Point
) -> tuple[dict[int, tuple[int, int]], dict[int, Reach]]:
    """The chosen range of sources by partition, and the positions of the schema."""
    reach = await reaches(connection, settings.topic_prefix + COMMANDS.name)
    first = await sources_at(connection, begin, reach, dict.fromkeys(reach, 0))
    ends = {number: one.end for number, one in reach.items()}
    last = await sources_at(connection, until, reach, ends)
    return {number: (first[number], min(last[number], ends[number])) for number in reach}, reach
