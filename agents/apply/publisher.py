"""Publish committed events, in order, and dead letters, at least once.

Each partition has at most one unacknowledged batch on its way: no batch can be lost between two
that arrive. Committed events are always published, or the process exits and the next owner
publishes it from the journal.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from msgspec import Struct

from execstream.agents.runtime.metrics import PUBLISHED
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.tasks import spawn
from execstream.config.tracing import Interval, Tracer, now
from execstream.kafka.worker_producer import LazyProducer

log = structlog.get_logger(__name__)

MAX_REQUEST = 21 * 1024 * 1024  # bytes; above the size of any command's event
# Seconds until an acknowledgement must have come or failed; aiokafka gives up after 40, unless its
# sending task has died: then nothing comes, and this ends the process.
ACK_PATIENCE = 120.0
# Limits of waiting records; beyond them, committing waits too.
BACKLOG = 8  # batches
BACKLOG_BYTES = 64 * 1024 * 1024  # of values in them


class OutboundRecord(Struct, gc=False):
    """One event or dead letter; `place` is (offset, index) of its source."""

    place: tuple[int, int]
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass(slots=True)
class OutboundRecords:
    """The outbound records of a partition, in order."""

    owned: AssignedPartition
    events: list[OutboundRecord] = field(default_factory=list)
    dead_letters: list[OutboundRecord] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """The size of the values."""
        return sum([len(one.value or b"") for one in (*self.events, *self.dead_letters)])


class _Waiting(NamedTuple):
    """Records of a batch, to be published after the republishing of their assignment."""

    outbound: Sequence[OutboundRecords]
    after: Awaitable[Any] | None
    bytes: int
    number: int


class Publisher:
    """Publishes independently of the commits, and merges the records gathered meanwhile."""

    def __init__(
        self,
        bootstrap: str,
        events: str,
        dead_letters: str,
        phases: Phases,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._events = events
        self._dead_letters = dead_letters
        self._phases = phases
        self._backlog: deque[_Waiting] = deque()
        self.added = 0  # batches since the start, which are numbered by that
        self._unacknowledged: dict[int, None] = {}  # numbers, in ascending order
        self._progress = asyncio.Condition()
        self._bytes = 0  # of values in it, and of those on their way
        self._publishing: asyncio.Task[Any] | None = None
        self._producer = LazyProducer(bootstrap, max_request_size=MAX_REQUEST)

    async def add(self, outbound: Sequence[OutboundRecords], after: Awaitable[Any] | None) -> None:
        """Publish `outbound` once `after`, the republishing of their assignment, is through. Waits
        only when too much has gathered.
        """
        if self._publishing is not None and self._publishing.cancelled():
            return  # the process ends: the next owner publishes these, and those before them
        size = sum(one.bytes for one in outbound)
        self._backlog.append(_Waiting(outbound, after, size, self._begin()))
        self._bytes += size
        if self._publishing is None or self._publishing.done():
            self._publishing = spawn(self._publish_all())
        elif len(self._backlog) > BACKLOG or self._bytes > BACKLOG_BYTES:
            await self.drain()

    async def drain(self) -> None:
        """Wait until everything is acknowledged."""
        while self._publishing is not None and not self._publishing.done():
            await asyncio.wait([self._publishing])

    async def acknowledged(self, count: int) -> None:
        """Wait until the first `count` batches of all that were `added` are acknowledged."""
        async with self._progress:
            await self._progress.wait_for(
                lambda: next(iter(self._unacknowledged), self.added) >= count
            )

    async def publish_apart(
        self, outbound: Sequence[OutboundRecords], after: Awaitable[Any] | None
    ) -> None:
        """Publish `outbound` beside later batches, once all that was added before is acknowledged;
        return when these are acknowledged, too. Until then nothing else of their partitions may be
        added.
        """
        number = self._begin()
        if after is not None:
            await asyncio.shield(after)
        await self.acknowledged(number)
        await self.publish(outbound)
        await self._end([number])

    def _begin(self) -> int:
        self._unacknowledged[self.added] = None
        self.added += 1
        return self.added - 1

    async def _end(self, numbers: Sequence[int]) -> None:
        async with self._progress:
            for number in numbers:
                del self._unacknowledged[number]
            self._progress.notify_all()

    async def publish(self, outbound: Sequence[OutboundRecords]) -> None:
        """Publish at once and wait for the acknowledgements; one call at a time for a partition."""
        producer = await self._producer.get()
        begun = now()
        with self._phases.timed("publish"):
            await asyncio.gather(*(self._publish_partition(producer, one) for one in outbound))
        if self._tracer is not None:
            all_headers = [event.headers for one in outbound for event in one.events]
            self._tracer.batch(f"send {self._events}", all_headers, Interval(begun, now()))

    async def close(self) -> None:
        await self.drain()
        await self._producer.close()

    async def start(self) -> None:
        """Connect, so that the first event need not wait for it."""
        await self._producer.get()

    async def _publish_all(self) -> None:
        while self._backlog:
            after = self._backlog[0].after
            if after is not None:
                await asyncio.shield(after)
            merged: dict[int, OutboundRecords] = {}
            size, numbers = 0, list[int]()
            # Records of the next assignment wait for its republishing, which waits for these.
            while self._backlog and self._backlog[0].after is after:
                waiting = self._backlog.popleft()
                size += waiting.bytes
                numbers.append(waiting.number)
                for one in waiting.outbound:
                    _merge(merged, one)
            await self.publish(list(merged.values()))
            self._bytes -= size
            await self._end(numbers)

    async def _publish_partition(
        self, producer: AIOKafkaProducer, outbound: OutboundRecords
    ) -> None:
        sending = [self._send_events(producer, outbound)]
        if outbound.dead_letters:
            sending.append(self._send_dead_letters(producer, outbound))
        acknowledged = await asyncio.gather(*sending)
        outbound.owned.published = max(outbound.owned.published, *acknowledged)

    async def _send_events(
        self, producer: AIOKafkaProducer, outbound: OutboundRecords
    ) -> tuple[int, int]:
        todo, last = deque(outbound.events), outbound.owned.published
        while todo:
            box = producer.create_batch()
            while todo and _append(box, todo[0]):
                last = todo.popleft().place
            sent = await producer.send_batch(box, self._events, partition=outbound.owned.number)
            await asyncio.wait_for(sent, ACK_PATIENCE)
        PUBLISHED.inc(len(outbound.events))
        return last

    async def _send_dead_letters(
        self, producer: AIOKafkaProducer, outbound: OutboundRecords
    ) -> tuple[int, int]:
        sent = [
            await producer.send(
                self._dead_letters, key=one.key, value=one.value, headers=one.headers
            )
            for one in outbound.dead_letters
        ]
        await asyncio.wait_for(asyncio.gather(*sent), ACK_PATIENCE)
        return outbound.dead_letters[-1].place


def _append(box: Any, outbound_record: OutboundRecord) -> bool:
    """Return whether `outbound_record` still fitted into the batch that `box` builds."""
    appended = box.append(
        key=outbound_record.key,
        value=outbound_record.value,
        timestamp=None,
        headers=list(outbound_record.headers),
    )
    return appended is not None


def _merge(merged: dict[int, OutboundRecords], outbound: OutboundRecords) -> None:
    """Merge by partition number: never two sends to one partition at a time."""
    into = merged.get(outbound.owned.number)
    if into is None:
        merged[outbound.owned.number] = OutboundRecords(
            outbound.owned, [*outbound.events], [*outbound.dead_letters]
        )
    else:
        into.owned = outbound.owned
        into.events += outbound.events
        into.dead_letters += outbound.dead_letters
