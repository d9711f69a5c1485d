"""The agent that publishes events on Redis, together with its position.

Reads `execution.events.v1`; writes Redis channels, and reads Postgres for the unseen past of runs.
If Redis is down, only the bridge waits.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient

from execstream.agents.bridge.forwarder import Forwarder, NotOurs
from execstream.agents.runtime.faust_app import App
from execstream.agents.runtime.partition_buffer import AssignedPartition, PartitionBuffer, Position
from execstream.config.settings import Settings
from execstream.config.tracing import close_tracer, now, tracer_of
from execstream.kafka.security import client_options
from execstream.storage.connections import Session
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.positions import RedisPosition, RedisPositions, open_redis
from execstream.storage.redis.subscriptions import Subscriptions
from execstream.streams.topics import EVENTS

log = structlog.get_logger(__name__)

HINT_EVERY = 2.0  # seconds between commits of Kafka offsets


class PositionsInRedis:
    """Positions from Redis, else those that the group committed, else the earliest."""

    def __init__(self, positions: RedisPositions, kafka_bootstrap: str, group: str) -> None:
        self.places: dict[int, RedisPosition] = {}
        self._positions = positions
        self._kafka_bootstrap = kafka_bootstrap
        self._group = group

    async def claim(self, topic: str, earliest: Mapping[int, int]) -> list[Position]:
        self.places = await self._positions.load()
        stored = {partition: place.next_offset for partition, place in self.places.items()}
        if forgotten := earliest.keys() - stored.keys():
            committed = await self._committed(topic)
            stored |= {partition: committed.get(partition, -1) for partition in forgotten}
        # Messages contain the whole state: after records lost to retention, the next message makes
        # up for them.
        return [
            Position(partition, max(stored[partition], first))
            for partition, first in earliest.items()
        ]

    async def _committed(self, topic: str) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka_bootstrap, **client_options())
        try:
            await admin.start()
            offsets = await admin.list_consumer_group_offsets(self._group)
        finally:
            await admin.close()
        return {tp.partition: kept.offset for tp, kept in offsets.items() if tp.topic == topic}


def declare(app: App, settings: Settings) -> None:
    """Declare the agent and its timer on `app`."""
    topic = settings.topic_prefix + EVENTS.name
    redis = open_redis(settings.redis)
    positions = RedisPositions(redis, settings.redis_prefix, topic)
    store = PositionsInRedis(positions, settings.kafka, app.conf.id)
    views = RunViews(settings.redis_prefix, settings.max_message_bytes)
    session = Session(settings.postgres, settings.schema_)
    tracer = tracer_of(settings, "bridge")

    def owned(_: list[AssignedPartition]) -> None:
        forwarder.begin({number: place.source for number, place in store.places.items()})

    buffer = PartitionBuffer(topic, store, on_owned=owned)
    forwarder = Forwarder(views, positions, Subscriptions(redis), session, buffer.owns)

    @app.agent(app.read(buffer), name="bridge_to_redis")
    async def bridge_to_redis(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.noack().events():
            buffer.receive(event.value)
            while batch := await buffer.poll_batch(queue):
                try:
                    await forwarder.forward(batch)
                except NotOurs:
                    log.info("handed_over", partitions=[p.owned.number for p in batch])
                else:
                    batch.mark_committed()
                    if tracer is not None:
                        tracer.processed(topic, batch.with_headers(), now())

    @app.timer(HINT_EVERY)
    async def hint() -> None:
        await app.hint(buffer)

    async def close() -> None:
        await session.close()
        await redis.aclose()
        await close_tracer(tracer)

    app.on_close(close)
