"""The bridge on real servers, fed by hand: events in records, and their messages on Redis."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord
from faust.types import TP
from redis.asyncio import Redis

from execstream.agents.bridge.forwarder import Forwarder
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.storage.commit.consumer_offsets import OffsetCommit, claim
from execstream.storage.commit.write_set import WriteSet, commit
from execstream.storage.connections import Session
from execstream.storage.log.run_states import load_runs
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.positions import RedisPositions, open_redis
from execstream.storage.redis.subscriptions import Subscriptions
from execstream.streams.commands import RunCommand
from execstream.streams.events import Event, encode_event, run_event
from execstream.streams.fold import fold
from tests.agents.commands import BLOCK_TYPES, DAWN, RUN_ID
from tests.agents.retold import Json, exactly
from tests.names import Names

TOPIC = "events"
REDIS_PASSWORD = "of-the-own-redis"  # noqa: S105 - it guards nothing


class Bridging:
    """A forwarder that owns everything until `is_ours` is false; it may be made anew any time."""

    def __init__(self, postgres_dsn: str, redis_url: str, names: Names) -> None:
        self.is_ours = True
        self.session = Session(postgres_dsn, names.schema)
        self.redis = open_redis(redis_url)
        self.positions = RedisPositions(self.redis, names.redis_prefix, TOPIC)
        self.forwarder = Forwarder(
            RunViews(names.redis_prefix),
            self.positions,
            Subscriptions(self.redis),
            self.session,
            lambda _: self.is_ours,
        )

    async def begin(self) -> None:
        """Start at the position in Redis."""
        places = await self.positions.load()
        self.forwarder.begin({partition: place.source for partition, place in places.items()})

    async def forward(self, events: Sequence[Event], first_offset: int = 0) -> None:
        """Have `events`, all of one partition, come from the topic."""
        await self.forwarder.forward(batch_of([encode_event(e) for e in events], first_offset))

    async def close(self) -> None:
        await self.session.close()
        await self.redis.aclose()


def batch_of(values: Iterable[bytes | None], first_offset: int = 0, partition: int = 0) -> Batch:
    """Records of one partition that the bridge owns."""
    owned = AssignedPartition(
        tp=TP(TOPIC, partition),
        epoch=0,
        base=0,
        published=(-1, -1),
        next=first_offset,
        done=first_offset,
    )
    records = [
        ConsumerRecord(TOPIC, partition, offset, 0, 0, None, value, None, 0, len(value or b""), ())
        for offset, value in enumerate(values, start=first_offset)
    ]
    return Batch([PartitionBatch(owned, first_offset, records)])


class Listener:
    """Receives the messages under a prefix, from its creation on."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._pattern = f"{prefix}execution_event/*"

    async def __aenter__(self) -> "Listener":
        await self._pubsub.psubscribe(self._pattern)
        await self._pubsub.get_message(ignore_subscribe_messages=False, timeout=5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it so

    async def hear(self, count: int) -> list[Json]:
        """The next `count` payloads."""
        heard: list[Json] = []
        async with asyncio.timeout(10):
            while len(heard) < count:
                message: Any = await self._pubsub.get_message(timeout=1)
                if message is not None:
                    heard.append(exactly(message["data"])["payload"])
        return heard

    async def silence(self) -> bool:
        """Return whether no further message was published: earlier ones have arrived when Redis
        answers.
        """
        await self._pubsub.ping()
        answer: Any = await self._pubsub.get_message(timeout=5)
        return bool(answer["type"] == "pong")


async def store(
    session: Session, commands: Sequence[RunCommand], first_offset: int = 0
) -> list[Event]:
    """Commit the commands of the run as a new worker does, and the catalogue with it; return the
    events.
    """
    connection = await session.get()
    write_set, events = WriteSet(), []
    run = (await load_runs(connection, [RUN_ID])).get(RUN_ID)
    for offset, command in enumerate(commands, start=first_offset):
        outcome = fold(run, command, 0)
        if not isinstance(outcome, tuple):
            continue
        run, entries = outcome
        for index, entry in enumerate(entries):
            write_set.add_entry(run, entry, 0, offset, index)
            events.append(run_event(run, entry, (0, offset, index)))
    write_set.build_rows()
    [row] = await claim(connection, "apply", "commands", {0: 0})
    offset_commit = OffsetCommit(
        0, row["next_offset"], row["epoch"], first_offset + len(commands), -1, -1
    )
    await commit(connection, "apply", "commands", [offset_commit], write_set)
    await _define_blocks(connection)
    return events


async def trim(session: Session) -> None:
    """Drop the journal and the steps of the run, as retention does when all of it has been read."""
    connection = await session.get()
    await claim(connection, "tally", "events", {0: 0})
    await connection.execute("update consumer_offset set published_offset = 1000")
    day = DAWN.date()
    assert await connection.fetchval("select trim_day($1, $2)", day, DAWN) == 1


async def _define_blocks(connection: asyncpg.Connection) -> None:
    await connection.executemany(
        "insert into block values ($1, $1, $2) on conflict do nothing", list(BLOCK_TYPES.items())
    )
