"""`execstream replay --events`: events again, for consumers that lost theirs."""

from contextlib import AsyncExitStack

from redis.asyncio import Redis

from execstream.cli.acts import record
from execstream.cli.common import print_json, start
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.config.settings import Settings
from execstream.kafka.producer import BulkProducer
from execstream.recovery.rate_limit import RateLimiter
from execstream.recovery.replay.offset_points import Point
from execstream.recovery.republish.republish import (
    Republishing,
    Sink,
    TopicSink,
    check_topic,
    open_redis_sink,
    spans_of,
)
from execstream.storage import connections
from execstream.storage.access.audit_log import Act
from execstream.storage.connections import REPLAY
from execstream.streams.errors import Fatal


class NowhereToTell(Fatal):
    """The command line names no destination of the events."""


async def replay_events(
    begin: Point,
    until: Point,
    *,
    to_redis: bool,
    to_topic: str | None,
    rate: float,
    json: bool,
) -> int:
    """Publish the events from `begin` to `until` on Redis, on a topic, or on both."""
    if not (to_redis or to_topic):
        raise NowhereToTell("Name where events go: --to-redis, --to-topic TOPIC, or both.")
    settings = start()
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(
            connections.connection(settings.postgres, settings.schema_, REPLAY)
        )
        sinks: list[Sink] = []
        if to_topic:
            sinks.append(await _topic(opened, settings, to_topic))
        if to_redis:
            redis = await opened.enter_async_context(Redis.from_url(settings.redis))
            past = await opened.enter_async_context(
                connections.connection(settings.postgres, settings.schema_, REPLAY)
            )
            sinks.append(await open_redis_sink(settings, redis, past))
        spans, reach = await spans_of(connection, settings, begin, until)
        republishing = Republishing(connection, sinks, RateLimiter(rate), spans, reach)
        try:
            with counted(quiet=json) as report_progress:
                await republishing.run(report_progress)
        except BaseException:
            err.print(f"Go on with --from {republishing.goes_on_at}", soft_wrap=True)
            raise
        finally:
            names = [name for name, is_one in ((to_topic, to_topic), ("Redis", to_redis)) if is_one]
            acts = (
                Act("replay.events", str(name), f"{republishing.published} events")
                for name in names
            )
            await record(settings, *acts)
    if json:
        print_json({"events": republishing.published})
    else:
        out.print(f"{republishing.published:,} events told.")
    return 0


async def _topic(opened: AsyncExitStack, settings: Settings, topic: str) -> TopicSink:
    producer = await opened.enter_async_context(BulkProducer(settings.kafka, topic))
    await check_topic(settings, topic, producer.partitions)
    return TopicSink(producer)
