"""A consumer of the events topic: each event once, in batches with a position to store.

Workers publish events at least once, so a stretch may appear again in a partition after a crash.
Those that are not above the last source of their partition are dropped here, and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError

from execstream.client.event_batches import (
    EventBatch,
    EventPosition,
    EventReceipt,
    EventsGone,
    PartitionReassigned,
)
from execstream.kafka.reader import extent
from execstream.kafka.security import client_options, configure_security, no_broker
from execstream.streams.errors import NOT_READABLE, Fatal, Unreachable
from execstream.streams.events import Event, decode_event
from execstream.streams.topics import EVENTS

MAX_EVENTS = 2_000  # of a batch
LOOK = 0.5  # seconds after which a wait for records looks whether an assignment failed
# Seconds that a rebalance waits for the batch in hand to be stored, and that the group gives it.
WAIT_FOR_BATCH, REBALANCE_TIMEOUT = 20.0, 30.0

Positions = Mapping[int, Sequence[int]]
"""By partition, the three integers of an EventPosition."""

LoadPositions = Callable[[Collection[int]], Awaitable[Positions]]
"""Loads the positions of some partitions from where the caller stores them."""


class TopicMissing(Fatal):
    """There is no events topic."""


class EventConsumer:
    """Reads the events topic; used as `async with EventConsumer() as consumer`.

    `async for batch in consumer` waits for events without an end. Without a group it reads all
    partitions. In a group Kafka divides the partitions among the consumers; when they are divided
    anew, the batch in hand has 20 s to be stored before another consumer continues behind it. A
    batch counts as stored when the next one is asked for.

    Args:
        group: of consumers; `EXECSTREAM_GROUP_PREFIX` is not put before it.
        positions: where to begin, or a function that loads it for partitions that were just
            assigned. Partitions that are not in it begin at their beginning. None: positions that
            `commit` stored in Kafka for the group; without a group the beginning.
        max_events: of a batch, at most.
        kafka_bootstrap: the brokers; None: those of the settings, or of the local stack.

    Raises:
        NotConfigured: no server is named and no local stack runs.
    """

    def __init__(
        self,
        group: str | None = None,
        *,
        positions: Positions | LoadPositions | None = None,
        max_events: int = MAX_EVENTS,
        kafka_bootstrap: str | None = None,
    ) -> None:
        # Imported here: pydantic takes longer to import than all the rest of the client.
        from execstream.config.settings import settings_at  # noqa: PLC0415 - imported late, see above

        settings = settings_at(("kafka_bootstrap",), kafka_bootstrap=kafka_bootstrap)
        configure_security(settings.kafka_security)
        self._bootstrap = settings.kafka
        self._topic = settings.topic_prefix + EVENTS.name
        self._group = group
        self._positions = positions
        self._max_events = max_events
        self._receipt = EventReceipt()
        self._places: dict[int, EventPosition] = {}  # of the partitions that are assigned
        self._fetched: deque[tuple[int, list[ConsumerRecord]]] = deque()
        self._generation = 0  # number of assignments so far
        self._failure: Exception | None = None  # of the last assignment
        self._no_batch_in_hand = asyncio.Event()
        self._no_batch_in_hand.set()
        self._is_revoking = False
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def receipt(self) -> EventReceipt:
        """The counts so far."""
        return self._receipt

    async def __aenter__(self) -> Self:
        self._consumer = consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            **client_options(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT * 1000),
        )
        try:
            await consumer.start()
            await self._subscribe(consumer)
        except KafkaConnectionError as error:
            await consumer.stop()
            raise Unreachable(no_broker(self._bootstrap)) from error
        except BaseException:
            await consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._no_batch_in_hand.set()
        if self._consumer is not None:
            await self._consumer.stop()

    async def next_batch(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - callers think in seconds, not in scopes
    ) -> EventBatch | None:
        """The next events of a partition, at least one; None after `timeout` seconds without any.

        Raises:
            EventsGone: the topic does not have the events at the position.
            aiokafka.errors.KafkaError: the brokers refuse; an outage is waited for.
            Exception: of the function that loads positions.
        """
        self._no_batch_in_hand.set()
        give_up = None if timeout is None else time.monotonic() + timeout
        while True:
            batch = await self._from_fetched()
            if batch is not None:
                self._no_batch_in_hand.clear()
                return batch
            left = LOOK if give_up is None else min(LOOK, give_up - time.monotonic())
            if left <= 0:
                return None
            await self._fetch(left)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventBatch:
        while True:
            batch = await self.next_batch()
            if batch is not None:
                return batch

    async def commit(self, batch: EventBatch) -> None:
        """Store the position after `batch` in Kafka, for the group.

        Raises:
            PartitionReassigned: the partition was taken away meanwhile; nothing was stored.
            aiokafka.errors.KafkaError: Kafka did not take it.
        """
        if batch.generation != self._generation or batch.partition not in self._places:
            raise PartitionReassigned(batch.partition)
        next_offset, *source = batch.after
        stored = {TopicPartition(self._topic, batch.partition): (next_offset, _text(source))}
        try:
            await self._started.commit(stored)
        except (CommitFailedError, IllegalStateError) as error:
            raise PartitionReassigned(batch.partition) from error

    @property
    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("The consumer is used outside of its context.")
        return self._consumer

    async def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [*(await extent(consumer, self._topic)).first]
        if not partitions:
            raise TopicMissing(f"There is no topic {self._topic}: `execstream topics apply`.")
        if self._group is None:
            consumer.assign([TopicPartition(self._topic, number) for number in partitions])
            await self._begin(partitions)
        else:
            consumer.subscribe([self._topic], listener=_Rebalances(self._revoke, self._assign))

    # ---- assignments ----------------------------------------------------------------------------

    async def _revoke(self) -> None:
        """Wait until the batch in hand is stored; no other one is handed over meanwhile."""
        self._is_revoking = True
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_FOR_BATCH):
                await self._no_batch_in_hand.wait()
        self._places = {}
        self._fetched.clear()
        self._generation += 1
        self._is_revoking = False

    async def _assign(self, partitions: Collection[int]) -> None:
        try:
            await self._begin(partitions)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on without positions
            self._failure = error

    async def _begin(self, partitions: Collection[int]) -> None:
        """Load the positions of `partitions` and read on from them."""
        self._failure = None
        generation = self._generation
        stored = await self._load(partitions)
        known = await extent(self._started, self._topic)
        places = {}
        for number in partitions:
            begin, end = known.first[number], known.end[number]
            place = EventPosition(*stored.get(number, (begin,)))
            if not begin <= place.next_offset <= end:
                raise EventsGone(self._topic, number, place.next_offset, begin, end)
            places[number] = place
        if generation != self._generation:
            return  # another assignment has begun
        # Without a wait between: records that were fetched before the seek belong to no place.
        for number, place in places.items():
            self._started.seek(TopicPartition(self._topic, number), place.next_offset)
        self._places = places

    async def _load(self, partitions: Collection[int]) -> Positions:
        if self._positions is None:
            return {} if self._group is None else await self._committed(partitions)
        if isinstance(self._positions, Mapping):
            return self._positions
        return await self._positions(partitions)

    async def _committed(self, partitions: Collection[int]) -> Positions:
        """The positions that `commit` stored, with their sources."""
        wanted = [TopicPartition(self._topic, number) for number in partitions]
        # `AIOKafkaConsumer.committed` leaves out the metadata, which has the source.
        found = await self._started._coordinator.fetch_committed_offsets(wanted)  # noqa: SLF001
        return {
            tp.partition: (stored.offset, *_source(stored.metadata))
            for tp, stored in found.items()
            if stored.offset >= 0
        }

    # ---- records --------------------------------------------------------------------------------

    async def _fetch(self, seconds: float) -> None:
        found = await self._started.getmany(
            timeout_ms=int(seconds * 1000), max_records=self._max_events
        )
        if self._failure is not None:
            raise self._failure
        self._fetched.extend(
            (tp.partition, records) for tp, records in found.items() if tp.partition in self._places
        )

    async def _from_fetched(self) -> EventBatch | None:
        """The first of the fetched batches that has events, with the positions around it."""
        while self._fetched and not self._is_revoking:
            partition, records = self._fetched[0]
            generation, before = self._generation, self._places[partition]
            if records[0].offset > before.next_offset:
                await self._check_gap(partition, before.next_offset)
                if generation != self._generation:
                    continue
            self._fetched.popleft()
            events, source, repeats = _new_events(records, before.source)
            after = EventPosition(records[-1].offset + 1, *source)
            self._places[partition] = after
            self._count(after.next_offset - before.next_offset, len(events), repeats)
            if events:
                return EventBatch(partition, events, before, after, generation)
        return None

    async def _check_gap(self, partition: int, wanted: int) -> None:
        """Offsets without a record are marks of transactions, unless retention was faster."""
        tp = TopicPartition(self._topic, partition)
        begin = (await self._started.beginning_offsets([tp]))[tp]
        if wanted < begin:
            end = (await self._started.end_offsets([tp]))[tp]
            raise EventsGone(self._topic, partition, wanted, begin, end)

    def _count(self, read: int, events: int, repeats: int) -> None:
        was = self._receipt
        self._receipt = EventReceipt(was.read + read, was.events + events, was.repeats + repeats)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # it has no types
    """Passes assignments on as numbers of partitions."""

    def __init__(
        self,
        revoke: Callable[[], Awaitable[None]],
        assign: Callable[[Collection[int]], Awaitable[None]],
    ) -> None:
        self._revoke, self._assign = revoke, assign

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002 - all of them are
        await self._revoke()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._assign([tp.partition for tp in assigned])


def _new_events(
    records: Sequence[ConsumerRecord], last: tuple[int, int]
) -> tuple[list[Event], tuple[int, int], int]:
    """Events above the source offset `last`; the source of the last of them; number of repeats."""
    events, repeats = [], 0
    for record in records:
        try:
            event = decode_event(record.value or b"")
        except NOT_READABLE:
            continue
        _, offset, index = event.source
        if (offset, index) > last:
            last = (offset, index)
            events.append(event)
        else:
            repeats += 1
    return events, last, repeats


def _text(source: Sequence[int]) -> str:
    """A source offset as metadata of a commit."""
    return "/".join(map(str, source))


def _source(metadata: str) -> Sequence[int]:
    """The source offset in the metadata of a commit; none in that of other consumers."""
    parts = metadata.split("/")
    return tuple(map(int, parts)) if len(parts) == 2 and all(_is_number(p) for p in parts) else ()


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdigit()
