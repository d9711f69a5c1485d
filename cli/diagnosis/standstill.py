"""Consumers: those that have records to read make progress."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from execstream.cli.common import opened
from execstream.cli.diagnosis.finding import Examined, Finding, sentence
from execstream.config.settings import Settings
from execstream.kafka.reader import consumer, extent
from execstream.recovery.offsets.offsets import Position, all_positions
from execstream.storage.connections import AWAY
from execstream.storage.redis.positions import open_redis
from execstream.streams.topics import COMMANDS, EVENTS

WATCHED_FOR = 3.0  # seconds; a worker commits or publishes a batch in less

_consumers = Examined("consumers")
_REMEDY = (
    "Start `execstream worker`. Where one runs, its /readyz names the servers it waits for, and "
    "its log has the reason (`retry`, `claim_retry`, `crash`)."
)


async def examine_consumers(settings: Settings) -> AsyncIterator[Finding]:
    """Compare positions with those of some seconds later, if there is anything to read."""
    redis = open_redis(settings.redis)
    try:
        async with opened(settings) as db, consumer(settings.kafka) as reader:
            unread = await _unread(settings, db, reader)
            events = settings.topic_prefix + EVENTS.name

            async def positions() -> list[Position]:
                return await all_positions(reader, db, redis, settings.redis_prefix, events)

            before = [one for one in await positions() if one.lag]
            if before or unread:
                await asyncio.sleep(WATCHED_FOR)
                unread &= await _unread(settings, db, reader)
            after = {one[:4] for one in (await positions() if before else [])}
        standing = [one for one in before if one[:4] in after]
    except (*AWAY, KafkaError, RedisError) as error:
        yield _consumers.failed("standstill", sentence(error), "Mend the faults above first.")
        return
    finally:
        await redis.aclose()
    if unread:
        found = f"no worker has begun to read {COMMANDS.name}[{_listed(unread)}]"
        yield _consumers.failed("standstill", found, _REMEDY)
    for finding in _standstills(standing):
        yield finding
    if not unread and not standing:
        yield _consumers.ok("standstill", "none has records to read and stands still")


async def _unread(settings: Settings, db: asyncpg.Pool, reader: AIOKafkaConsumer) -> set[int]:
    """Partitions of the commands topic that have records and that no worker has ever claimed."""
    topic = settings.topic_prefix + COMMANDS.name
    bounds = await extent(reader, topic)
    claimed = await db.fetch(
        "select partition from consumer_offset where consumer = 'apply' and topic = $1", topic
    )
    filled = {number for number, end in bounds.end.items() if end > bounds.first[number]}
    return filled - {row["partition"] for row in claimed}


def _standstills(standing: list[Position]) -> list[Finding]:
    by_consumer = defaultdict(list)
    for one in standing:
        by_consumer[one.consumer, one.topic].append(one)
    return [
        _consumers.failed(
            "standstill",
            f"{name} has not moved on {topic}[{_listed({one.partition for one in ones})}] for "
            f"{WATCHED_FOR:g} s, with {sum(one.lag or 0 for one in ones):,} records to read",
            _REMEDY,
        )
        for (name, topic), ones in by_consumer.items()
    ]


def _listed(partitions: set[int]) -> str:
    return ", ".join(map(str, sorted(partitions)))
