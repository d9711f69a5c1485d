"""Partition buffer between Faust and an agent: gapless batches, or a seek back, or a stop.

It knows the owned partitions, the position of each, and which fetched records are valid:

* stamped by another seek than the partition's last one: fetched before it, dropped;
* the fetch went on (`base`) above what is expected: records were lost on the way here, seek back;
* `base` fits but the first record is above: a real hole (transaction marker, compaction), stepped
  over after checking that the topic still begins below it;
* the first record is below: trimmed.
"""

import asyncio
import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka.errors import IllegalStateError
from faust.types import TP

from execstream.agents.runtime.fetched_records import (
    FetchedRecords,
    Record,
    WaitingRecords,
    size_of,
)
from execstream.agents.runtime.metrics import BATCH_RECORDS, FENCES
from execstream.agents.runtime.tasks import crash, spawn
from execstream.streams.append_time import append_time
from execstream.streams.events import NOWHERE

log = structlog.get_logger(__name__)

_stamps = itertools.count(1)  # records fetched before our own seek carry 0
MAX_RECORDS = 2_000  # in a batch
MAX_BYTES = 8 * 1024 * 1024  # of values and headers in a batch, but for the last record's
FENCED_PATIENCE = 5.0  # seconds to wait for Faust to revoke a partition that is not ours any more
_NO_STAMP = -1  # carried by nothing
_offset_of = attrgetter("offset")


@dataclass(slots=True)
class Position:
    """The position of a partition, as its store returns it at a claim. `base` is added to Kafka's
    offsets in sources; `published`: (offset, index) of the last event known to be acknowledged.
    """

    partition: int
    next_offset: int
    epoch: int = 0
    base: int = 0
    published: tuple[int, int] = NOWHERE


class Ends(NamedTuple):
    """The offset after the last record that may be read, and after the last one. They differ while
    a transaction is open, which holds back all that came after its first record."""

    stable: int
    high: int


class PositionStore(Protocol):
    """Keeps positions: Postgres, together with the effects, or Redis."""

    async def claim(self, topic: str, earliest: Mapping[int, int]) -> list[Position]:
        """Take partitions over from their former owners. `earliest`: partition → the offset to
        begin at when nothing is stored.
        """


@dataclass(slots=True, eq=False)
class AssignedPartition:
    """A partition that is ours now. A new assignment makes a new object."""

    tp: TP
    epoch: int
    base: int
    published: tuple[int, int]
    next: int  # the offset to be read next
    done: int  # the offset after the last one with stored effects
    done_at: datetime | None = None  # when the broker appended that one; None: not known
    stamp: int = _NO_STAMP

    @property
    def number(self) -> int:
        return self.tp.partition


@dataclass(slots=True)
class PartitionBatch:
    """One partition's share of a batch."""

    owned: AssignedPartition
    expected: int  # the offset at which it begins
    records: list[Record] = field(default_factory=list)

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1

    @property
    def bytes(self) -> int:
        """The size of values and headers."""
        return sum([size_of(record) for record in self.records])

    def cut(self, count: int) -> "tuple[PartitionBatch | None, PartitionBatch | None]":
        """The first `count` records and the others; None for none."""
        if count == 0:
            return None, self
        if count == len(self.records):
            return self, None
        first = PartitionBatch(self.owned, self.expected, self.records[:count])
        return first, PartitionBatch(self.owned, first.next_offset, self.records[count:])


class Batch(list[PartitionBatch]):
    """Records that take effect together, by partition number."""

    @property
    def size(self) -> int:
        return sum(len(part.records) for part in self)

    def with_headers(self) -> list[Record]:
        """Its records that have headers: those that may be traced."""
        return [record for part in self for record in part.records if record.headers]

    def mark_committed(self) -> None:
        """Its effects are written: the partitions are past it."""
        for part in self:
            part.owned.done = part.next_offset
            part.owned.done_at = append_time(part.records[-1])
        BATCH_RECORDS.labels(self[0].owned.tp.topic).observe(self.size)

    def halves(self) -> tuple["Batch", "Batch"]:
        """Split so that neither is empty; `size` must be at least 2."""
        if len(self) > 1:
            middle = len(self) // 2
            return Batch(self[:middle]), Batch(self[middle:])
        first, rest = self[0].cut(len(self[0].records) // 2)
        return Batch([first] if first else []), Batch([rest] if rest else [])


class PartitionBuffer:
    """The input of one agent. `on_owned` is called with the owned partitions after each claim;
    `on_lost` whenever none is owned any more.
    """

    def __init__(
        self,
        topic: str,
        store: PositionStore,
        on_owned: Callable[[list[AssignedPartition]], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.topic = topic
        self.owned: dict[int, AssignedPartition] = {}
        self._store = store
        self._on_owned = on_owned
        self._on_lost = on_lost
        self._waiting = WaitingRecords()
        self._consumer: Any = None
        self._stopped = False
        self._losses = 0

    def stop(self) -> None:
        """Deliver nothing more; delivered batches may still be committed."""
        self._waiting.clear()
        self._stopped = True

    def ends(self) -> dict[int, Ends]:
        """The end of the topic at the last fetch, by owned partition."""
        ends = {
            number: self._consumer.ends(partition.tp) for number, partition in self.owned.items()
        }
        return {number: end for number, end in ends.items() if end is not None}

    @property
    def laden(self) -> Collection[TP]:
        """Partitions of which `poll_laden` alone polls records. They take no room from others, and
        are not to be fetched before all that was received of them is taken.
        """
        return self._waiting.laden.keys()

    def owns(self, batch: Batch) -> bool:
        return all(self.owned.get(p.owned.number) is p.owned for p in batch)

    # ---- assignment ------------------------------------------------------------------------

    def lose_all(self) -> None:
        self._losses += 1
        self.owned.clear()
        self._waiting.clear()
        self._on_lost()

    async def claim(self, bounds: Mapping[TP, tuple[int, int]]) -> list[AssignedPartition]:
        """Claim the partitions of `bounds`, which has (earliest, end) of each in the topic."""
        earliest = {tp.partition: low for tp, (low, _) in bounds.items()}
        positions = {p.partition: p for p in await self._store.claim(self.topic, earliest)}
        owned = []
        for tp, (low, high) in bounds.items():
            position = positions[tp.partition]
            if not low <= position.next_offset <= high:
                crash(
                    "The stored position is not in the topic: it was made anew, or its retention "
                    "overtook the worker. See docs/architecture.md, 'Outside the topic'.",
                    topic=tp.topic,
                    partition=tp.partition,
                    position=position.next_offset,
                    earliest=low,
                    end=high,
                )
            owned.append(
                AssignedPartition(
                    tp=tp,
                    epoch=position.epoch,
                    base=position.base,
                    published=position.published,
                    next=position.next_offset,
                    done=position.next_offset,
                )
            )
        return owned

    async def take_over(self, owned: list[AssignedPartition], consumer: Any) -> bool:
        """Begin reading the claimed partitions; false when they were lost meanwhile. The consumer's
        lock is held.
        """
        self._consumer = consumer
        losses = self._losses
        await self._jump(owned)
        if self._losses != losses:
            return False
        self.owned = {partition.number: partition for partition in owned}
        self._on_owned(owned)
        log.info("owns", topic=self.topic, positions={p.number: p.next for p in owned})
        return True

    async def _jump(self, parts: list[AssignedPartition]) -> None:
        stamp = next(_stamps)
        for partition in parts:
            partition.stamp = stamp
        await self._consumer.jump({partition.tp: partition.next for partition in parts}, stamp)

    def release(self, batch: Batch) -> None:
        """Drop a fenced batch: another worker owns a partition of `batch`. Faust will revoke it
        soon; if it does not, no other worker does, and the schema was swapped for a rebuilt one.
        """
        if not self.owns(batch):
            return
        log.warning("fenced", partitions=[part.owned.number for part in batch])
        FENCES.inc()
        self.lose_all()
        asyncio.get_running_loop().call_later(FENCED_PATIENCE, self._reclaim, self._losses)

    def _reclaim(self, losses: int) -> None:
        """Claim the assigned partitions again, if Faust has revoked none since."""
        if self._losses == losses and not self.owned and not self._stopped:
            log.warning("reclaims", topic=self.topic)
            spawn(self._consumer.reclaim())

    # ---- batches ---------------------------------------------------------------------------

    def receive(self, fetches: Iterable[FetchedRecords]) -> None:
        for fetched in fetches:
            self._waiting.of(fetched.tp).append(fetched)

    async def poll_batch(self, queue: "asyncio.Queue[Any]", limit: int = MAX_RECORDS) -> Batch:
        """A batch of at most `limit` records and about MAX_BYTES from the received records and
        those in Faust's `queue`; empty when there are none.
        """
        # No more than a batch needs: records that stay in the queue delay the next fetch.
        while not queue.empty() and self._has_room(limit):
            self.receive(queue.get_nowait().value)
        return await self._take(self._waiting.together, limit)

    async def poll_laden(self) -> Batch:
        """The same of one laden partition, of each in turn; empty when nothing of them is left, and
        none is laden any more.
        """
        while laden := self._waiting.laden:
            tp, waiting = next(iter(laden.items()))
            if batch := await self._take(waiting, MAX_RECORDS):
                if tp in self._waiting.laden:
                    self._waiting.pass_turn(tp)
                return batch
            self._waiting.unburden()
        return Batch()

    async def _take(self, waiting: deque[FetchedRecords], limit: int) -> Batch:
        parts: dict[int, PartitionBatch] = {}
        behind: list[AssignedPartition] = []
        holes: dict[TP, int] = {}
        room, space = limit, MAX_BYTES
        while waiting and room > 0 and space > 0 and not self._stopped:
            fetched = waiting[0]
            partition = self.owned.get(fetched.tp.partition)
            if partition is None or fetched.stamp != partition.stamp:
                waiting.popleft()
            elif fetched.base > partition.next:
                partition.stamp = _NO_STAMP  # until the seek back, everything of it is stale
                behind.append(partition)
            else:
                records, size = self._trim(waiting, partition, room, space)
                if not records:
                    continue
                if records[0].offset > partition.next:
                    holes[partition.tp] = partition.next
                part = parts.setdefault(partition.number, PartitionBatch(partition, partition.next))
                part.records.extend(records)
                partition.next = part.next_offset
                room -= len(records)
                space -= size
        if behind:
            await self._seek_back(behind)
        if holes:
            await self._check_holes(holes)
        return Batch(parts[number] for number in sorted(parts))

    def put_back(self, rest: Batch) -> None:
        """Take records back that were polled last; they come first in the next batch."""
        for part in rest:
            partition = part.owned
            if self.owned.get(partition.number) is partition and not self._stopped:
                partition.next = part.expected
                self._waiting.of(partition.tp).appendleft(
                    FetchedRecords(partition.tp, part.records, partition.stamp, part.expected)
                )

    def put_apart(self, rest: Batch) -> None:
        """Take records back that were polled last; their partitions are laden from now on."""
        self.put_back(rest)
        self._waiting.burden([part.owned.tp for part in rest])

    def _has_room(self, limit: int) -> bool:
        waiting = self._waiting.together
        return sum(map(len, waiting)) < limit and sum(one.bytes for one in waiting) < MAX_BYTES

    @staticmethod
    def _trim(
        waiting: deque[FetchedRecords], partition: AssignedPartition, room: int, space: int
    ) -> tuple[list[Record], int]:
        """Take unseen records of the first in `waiting`; return them and their size in bytes: at
        most `room` records, and only the last one may exceed `space` bytes. The rest stays."""
        fetched = waiting[0]
        if fetched[0].offset < fetched.base:
            crash("The consumer moved back unasked.", partition=partition.number)
        begin = bisect_left(fetched, partition.next, key=_offset_of)
        records = fetched[begin : begin + room]
        sizes = list(itertools.accumulate([size_of(record) for record in records]))
        if sizes and sizes[-1] > space:
            del records[bisect_left(sizes, space) + 1 :]
        if begin + len(records) == len(fetched):
            waiting.popleft()
        size = sizes[len(records) - 1] if records else 0
        fetched.bytes -= size
        return records, size

    async def _seek_back(self, behind: list[AssignedPartition]) -> None:
        async with self._consumer.lock:
            still = [
                partition for partition in behind if self.owned.get(partition.number) is partition
            ]
            log.warning(
                "seek_back", positions={partition.number: partition.next for partition in still}
            )
            try:
                if still:
                    await self._jump(still)
            except IllegalStateError:
                log.info("seek_back_of_a_lost_partition")

    async def _check_holes(self, holes: Mapping[TP, int]) -> None:
        earliest = await self._consumer.earliest_offsets(*holes)
        lost = {tp.partition: offset for tp, offset in holes.items() if earliest[tp] > offset}
        if lost:
            crash("The topic's retention overtook the worker.", topic=self.topic, positions=lost)
        log.info("stepped_over_hole", positions={tp.partition: o for tp, o in holes.items()})
