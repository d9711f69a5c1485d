"""Facts from Kafka itself: where topics begin and end, and the members of consumer groups.

Connects on first use. Answers are kept for a second, because every open page asks for them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from pydantic import BaseModel

from execstream.kafka.admin import describe
from execstream.kafka.transactions import OpenTransaction, PartitionKey, open_transactions
from execstream.streams.topics import TOPICS

PATIENCE = 3.0  # seconds for Kafka to answer
KEPT_FOR = 1.0  # seconds an answer is good for
COMMITTED, ALL = "read_committed", "read_uncommitted"  # workers read committed records only

Answer = TypeVar("Answer")


class Bounds(NamedTuple):
    """Offset of the first record, and the one after the last. Of committed records nothing from
    `stable` on can be read, because a transaction is open."""

    begin: int
    stable: int
    end: int


class Range(NamedTuple):
    """Offsets from `begin` on, before `end`."""

    begin: int
    end: int


class AllBounds(NamedTuple):
    """Bounds of all partitions, read after `asked_at`."""

    asked_at: datetime
    of: dict[PartitionKey, Bounds]


class Member(BaseModel):
    """A worker: partitions it owns, by topic."""

    client_id: str
    host: str
    partitions: dict[str, list[int]]


class Group(BaseModel):
    """A consumer group, `state` in Kafka's words: Stable, Empty, PreparingRebalance, …, Dead."""

    group: str
    state: str
    members: list[Member]


class Brokers:
    """One connection of each kind. Every request raises ConnectionError while Kafka is down."""

    def __init__(self, bootstrap: str, access: Mapping[str, Any], topic_prefix: str) -> None:
        self._options = {"bootstrap_servers": bootstrap, **access}
        self._topics = [topic_prefix + topic.name for topic in TOPICS]
        self._consumers: dict[str, AIOKafkaConsumer] = {}
        self._admin: AIOKafkaAdminClient | None = None
        self._asking = asyncio.Lock()
        self._bounds = AllBounds(datetime.min.replace(tzinfo=UTC), {})
        self._bounds_until = float("-inf")

    async def bounds(self) -> AllBounds:
        """Return the bounds of all our topics that exist."""
        async with self._asking:
            if time.monotonic() >= self._bounds_until:
                asked_at = datetime.now(UTC)
                self._bounds = AllBounds(asked_at, await self._ask(self._load_bounds))
                self._bounds_until = time.monotonic() + KEPT_FOR
            return self._bounds

    async def first_times(
        self, ranges: Mapping[PartitionKey, Range], *, committed: bool = True
    ) -> dict[PartitionKey, int]:
        """Return the append time of the first record in each range, in milliseconds. Ranges without
        a record, or with only the markers of transactions, are left out. Unless `committed`,
        records of open transactions, and those behind them, count too.
        """
        if not ranges:
            return {}
        isolation = COMMITTED if committed else ALL
        async with self._asking:
            return await self._ask(lambda: self._load_first_times(ranges, isolation))

    async def open_transactions(self) -> list[OpenTransaction]:
        """Return the transactions that hold our topics back, by topic and partition."""
        held = [at for at, bounds in (await self.bounds()).of.items() if bounds.stable < bounds.end]
        async with self._asking:
            return await self._ask(lambda: self._load_open_transactions(held)) if held else []

    async def groups(self, names: Collection[str]) -> list[Group]:
        """These consumer groups, with the members that are alive."""
        async with self._asking:
            return await self._ask(lambda: self._load_groups(names))

    async def close(self) -> None:
        """Let go of the connections."""
        consumers, self._consumers = self._consumers, {}
        admin, self._admin = self._admin, None
        for consumer in consumers.values():
            await consumer.stop()
        if admin is not None:
            await admin.close()

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await asyncio.wait_for(question(), PATIENCE)
        except (KafkaError, OSError) as error:
            await self.close()
            raise ConnectionError("Kafka does not answer.") from error

    async def _load_bounds(self) -> dict[PartitionKey, Bounds]:
        admin, consumer = await self._administrator(), await self._reader(COMMITTED)
        every = await self._reader(ALL)
        parts = [
            TopicPartition(described["topic"], one["partition"])
            for described in await describe(admin, self._topics)
            for one in described["partitions"]
        ]
        parts.sort(key=lambda tp: tp.partition)
        # The stable offsets first: a commit between the two requests must not look like an open
        # transaction.
        stable = await consumer.end_offsets(parts)
        begins, ends = await asyncio.gather(
            every.beginning_offsets(parts), every.end_offsets(parts)
        )
        return {(tp.topic, tp.partition): Bounds(begins[tp], stable[tp], ends[tp]) for tp in parts}

    async def _load_open_transactions(
        self, partitions: Collection[PartitionKey]
    ) -> list[OpenTransaction]:
        return await open_transactions(await self._administrator(), partitions)

    async def _load_first_times(
        self, ranges: Mapping[PartitionKey, Range], isolation: str
    ) -> dict[PartitionKey, int]:
        consumer = await self._reader(isolation)
        waiting = {TopicPartition(*place): sought for place, sought in ranges.items()}
        times: dict[PartitionKey, int] = {}
        consumer.assign(list(waiting))
        try:
            for tp, sought in waiting.items():
                consumer.seek(tp, sought.begin)
            while waiting:
                for tp, records in (await consumer.getmany(*waiting, timeout_ms=100)).items():
                    if records[0].offset < waiting[tp].end:
                        times[tp.topic, tp.partition] = records[0].timestamp
                for tp in list(waiting):
                    if await consumer.position(tp) > waiting[tp].begin:
                        del waiting[tp]
        finally:
            consumer.unsubscribe()
        return times

    async def _load_groups(self, names: Collection[str]) -> list[Group]:
        admin = await self._administrator()
        # One by one: aiokafka 0.14 reads the answer about several as of an older version.
        responses = [await admin.describe_consumer_groups([name]) for name in names]
        return [_group(described) for [answer] in responses for described in answer.groups]

    async def _administrator(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = AIOKafkaAdminClient(**self._options)
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            self._admin = admin
        return self._admin

    async def _reader(self, isolation: str) -> AIOKafkaConsumer:
        if isolation not in self._consumers:
            consumer = AIOKafkaConsumer(
                **self._options,
                enable_auto_commit=False,
                isolation_level=isolation,
                max_partition_fetch_bytes=1,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumers[isolation] = consumer
        return self._consumers[isolation]


def _group(described: tuple[Any, ...]) -> Group:
    _, name, state, _, _, members, *_ = described
    return Group(group=name, state=state, members=sorted(map(_member, members), key=_by_name))


def _member(described: tuple[Any, ...]) -> Member:
    *_, client_id, host, _, assignment = described
    owned = ConsumerProtocolMemberAssignment.decode(assignment).assignment if assignment else []
    partitions = {topic: sorted(numbers) for topic, numbers in sorted(owned)}
    return Member(client_id=client_id, host=host.lstrip("/"), partitions=partitions)


def _by_name(member: Member) -> tuple[str, list[list[int]]]:
    return member.client_id, list(member.partitions.values())
