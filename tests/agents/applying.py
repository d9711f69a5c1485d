"""An applier on real tables that is handed its batches instead of reading them from Kafka."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from unittest.mock import patch

import asyncpg
from faust.types import TP

from execstream.agents.apply.pipeline import CONSUMER, Applier
from execstream.agents.apply.publisher import OutboundRecords, Publisher
from execstream.agents.runtime.partition_buffer import (
    AssignedPartition,
    Batch,
    PartitionBatch,
    PartitionBuffer,
)
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.stored_offsets import PostgresPositions
from execstream.config.settings import Settings
from execstream.devstack import Addresses
from execstream.storage.connections import Session
from execstream.storage.schema.migrate import migrate
from execstream.streams.append_time import append_time
from execstream.workload.reference import Reference
from tests.names import lent_names
from tests.orders import Order
from tests.worker import settings_at

TOPIC = "commands"
NOON = 1_772_366_400_000  # Kafka's time of records that name none, in milliseconds


@dataclass(frozen=True)
class Record:
    """A record of the commands topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    topic: str = TOPIC
    timestamp: int = NOON
    timestamp_type: int = 1  # the broker's own
    headers: Sequence[tuple[str, bytes | None]] = ()


class Said(Publisher):
    """Keeps the records to be published."""

    def __init__(self) -> None:
        super().__init__("", "", "", Phases())
        self.events: defaultdict[int, list[bytes]] = defaultdict(list)
        self.dead_letters: list[tuple[bytes | None, bytes | None]] = []

    async def add(self, delta: Sequence[OutboundRecords], after: Any) -> None:  # noqa: ARG002
        for one in delta:
            self.events[one.owned.number] += [saying.value or b"" for saying in one.events]
            self.dead_letters += [(letter.key, letter.value) for letter in one.dead_letters]

    async def publish_apart(self, delta: Sequence[OutboundRecords], after: Any) -> None:
        await self.add(delta, after)


class Still:
    """A consumer that stays at the offset given."""

    def __init__(self) -> None:
        self.jumps: list[Mapping[TP, int]] = []

    async def jump(self, positions: Mapping[TP, int], stamp: int) -> None:  # noqa: ARG002
        self.jumps.append(dict(positions))


@dataclass
class Desk:
    """The applier with its tables; `reference` is fed with the same records. `timestamp_type` 0:
    the times of the records are their producers', 1: the broker's.
    """

    db: asyncpg.Pool
    applier: Applier
    buffer: PartitionBuffer
    said: Said
    ends: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    reference: Reference = field(default_factory=Reference)
    timestamp_type: int = 1

    @property
    def owned(self) -> dict[int, AssignedPartition]:
        return self.buffer.owned

    async def claim(self, *partitions: int) -> None:
        """Take partitions over, as a new assignment does."""
        bounds = {TP(TOPIC, number): (0, 2**62) for number in partitions}
        await self.buffer.take_over(await self.buffer.claim(bounds), Still())

    def batch(self, orders: Iterable[Order]) -> Batch:
        """A batch of these orders, each of which names its partition, the lightest first."""
        batch = Batch()
        for number, some in groupby(sorted(orders, key=_partition), key=_partition):
            records = [
                Record(
                    *(number, self.ends[number] + index, one.key, one.value),
                    timestamp=_time(one),
                    timestamp_type=self.timestamp_type,
                    headers=one.headers,
                )
                for index, one in enumerate(some)
            ]
            batch.append(PartitionBatch(self.owned[number], self.ends[number], list(records)))
            self.ends[number] += len(records)
        # In the order of the applier. It decides the partition of a run that begins on two of them.
        batch.sort(key=lambda part: part.bytes)
        return batch

    async def apply(self, *orders: Order) -> None:
        """One batch, until it is committed."""
        batch = self.batch(orders)
        for part in batch:
            for one in part.records:
                place = (one.partition, one.offset)
                self.reference.feed(*place, one.key, one.value, append_time(one))
        await self.commit(batch)

    async def commit(self, batch: Batch) -> None:
        await self.applier.apply(batch)
        await self.settled()

    async def settled(self) -> None:
        for task in (self.applier._heavy, self.applier._in_flight):
            if task is not None:
                await task

    async def clear(self) -> None:
        """Empty tables and an empty reference; positions stay."""
        await self.db.execute(
            """truncate graph_execution, node_execution, journal, kv_data, kv_journal, refusal,
                        dead_letter, quarantine;
               update consumer_offset set applied = 0, duplicate = 0, refused = 0, dead = 0,
                                             quarantined = 0"""
        )
        self.applier.drop_states()
        self.said.events.clear()
        self.reference = Reference()


def _partition(order: Order) -> int:
    return order.partition or 0


def _time(order: Order) -> int:
    return NOON if order.timestamp is None else order.timestamp


@asynccontextmanager
async def desk(servers: Addresses, partitions: int = 2) -> AsyncIterator[Desk]:
    """A desk that owns that many partitions, on tables of its own."""
    async with lent_names(servers) as names:
        await migrate(servers.postgres_dsn, names.schema)
        async with (
            asyncpg.create_pool(
                servers.postgres_dsn, min_size=1, server_settings={"search_path": names.schema}
            ) as db,
            desk_at(db, settings_at(servers, names)) as made,
        ):
            await made.claim(*range(partitions))
            yield made


@asynccontextmanager
async def desk_at(db: asyncpg.Pool, settings: Settings) -> AsyncIterator[Desk]:
    """A desk on the tables that are there; it owns nothing yet."""
    session = Session(settings.postgres, settings.schema_)
    said = Said()
    buffer = PartitionBuffer(TOPIC, PostgresPositions(session, CONSUMER))
    applier = Applier(settings, buffer, said, Phases())
    # The awaited task reports failures; the process of the tests shall go on.
    with patch("execstream.agents.runtime.tasks.crash"):
        try:
            yield Desk(db, applier, buffer, said)
        finally:
            await applier.close()
            await session.close()
