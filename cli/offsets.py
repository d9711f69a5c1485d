"""`execstream offsets`: positions of consumers in their topics, and moves after these changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer
from cyclopts import App, Parameter
from redis.asyncio import Redis

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.terminal import err, out
from execstream.config.settings import Settings
from execstream.kafka.reader import consumer
from execstream.recovery.offsets.offsets import Position, all_positions, rebase, rewind_bridge, skip
from execstream.storage.access.audit_log import Act
from execstream.storage.redis.positions import open_redis
from execstream.streams.topics import CATALOGUE, COMMANDS, EVENTS, Topic

offsets = App(name="offsets", help="Where consumers are in their topics: show, rebase, skip.")

Name = Literal["commands", "events", "catalogue"]
_TOPICS: dict[Name, Topic] = {"commands": COMMANDS, "events": EVENTS, "catalogue": CATALOGUE}


class _Servers(NamedTuple):
    settings: Settings
    db: asyncpg.Pool
    redis: Redis
    reader: AIOKafkaConsumer

    async def positions(self) -> list[Position]:
        events = self.settings.topic_prefix + EVENTS.name
        return await all_positions(
            self.reader, self.db, self.redis, self.settings.redis_prefix, events
        )


@asynccontextmanager
async def _servers() -> AsyncIterator[_Servers]:
    settings = start()
    redis = open_redis(settings.redis)
    try:
        # Records held back by an open transaction are lag, too.
        everything = consumer(settings.kafka, isolation_level="read_uncommitted")
        async with opened(settings) as db, everything as reader:
            yield _Servers(settings, db, redis, reader)
    finally:
        await redis.aclose()


@offsets.command
async def show(*, json: Json = False) -> int:
    """Show the position of each consumer and the range of its topic; exit code 1 when one is
    outside.
    """
    async with _servers() as servers:
        positions = await servers.positions()
    _print(positions, json=json)
    return 0 if all(one.state == "inside" for one in positions) else 1


@offsets.command(name="rebase")
async def rebase_command(
    topic: Name,
    /,
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Reset the consumers of a recreated topic to its beginning.

    Stop the workers first. Sources of new commands continue above the old ones, so no consumer
    takes new events for repeats; dead letters of the old topic are set apart.

    Parameters
    ----------
    topic
        The recreated one.
    force
        Also when all positions are inside the topic: it has grown beyond them since.
    """
    async with _servers() as servers:
        settings, positions = servers.settings, await servers.positions()
        made_again = _TOPICS[topic]
        await rebase(servers.db, positions, made_again, settings.topic_prefix, forced=force)
        if made_again is EVENTS:
            group = f"{settings.group_prefix}-bridge"
            await rewind_bridge(
                servers.redis, settings.redis_prefix, settings.kafka, group, positions
            )
        await record(settings, Act("offsets.rebase", topic, "done"))
        _print(await servers.positions(), json=json)


@offsets.command(name="skip")
async def skip_command(topic: Name, /, *, json: Json = False) -> None:
    """Move consumers that a topic's retention overtook to the first record that is left.

    Stop the workers first. Records deleted before they were read are lost: producers have to send
    these commands again.

    Parameters
    ----------
    topic
        Which one they read.
    """
    async with _servers() as servers:
        settings = servers.settings
        name = settings.topic_prefix + _TOPICS[topic].name
        positions = await servers.positions()
        skipped = await skip(servers.db, servers.redis, settings.redis_prefix, positions, name)
        for one in skipped:
            lost = (one.begin or 0) - one.next_offset
            err.print(f"{one.consumer}, partition {one.partition}: {lost:,} records are lost.")
        await record(settings, Act("offsets.skip", topic, "done"))
        _print(await servers.positions(), json=json)


def _print(positions: list[Position], *, json: bool) -> None:
    if json:
        for one in positions:
            print_json(one._asdict() | {"lag": one.lag, "state": one.state})
        return
    rows = table("consumer", "topic", "partition", "next", "begin", "end", "lag", "base", "state")
    for one in positions:
        figures = (one.next_offset, one.begin, one.end, one.lag, one.base)
        words = ["-" if figure is None else f"{figure:,}" for figure in figures]
        rows.add_row(one.consumer, one.topic, str(one.partition), *words, one.state)
    out.print(rows)
