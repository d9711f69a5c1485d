"""Sending records to Kafka: idempotent, acknowledged by all replicas, in order per partition.

`Producer` answers for each record; `BulkProducer` is for a stream of records of which only the
number matters, some ten times cheaper per record. Both make their own batches: aiokafka's linger
is counted per partition, so that a steady flow would cost a request for nearly every record.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from execstream.kafka.partition_count import PartitionsChanged, check_partitions
from execstream.kafka.security import client_options, no_broker
from execstream.streams.errors import Unreachable
from execstream.streams.partitions import partition_of
from execstream.streams.topics import EVENTS

# A request costs about 0.5 ms of CPU, so that a steady flow shares them, while a caller that waits
# for one record after the other is not held up.
LINGER = 0.002  # seconds that a record waits at least for others to share its request
INTERVAL_ALONE = 0.005  # seconds between requests at least, for a record that nothing joined
INTERVAL = 0.015  # seconds between requests at least, for all others
BATCH_BYTES = 512 * 1024
TOPIC_PATIENCE = 5.0  # seconds until a topic that no broker knows counts as missing
LAST_PATIENCE = 2.0  # seconds at the end for records without a caller


async def _start(bootstrap: str, topic: str) -> tuple[AIOKafkaProducer, int]:
    """A started producer, and the number of partitions of `topic`."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        **client_options(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=EVENTS.max_message_bytes,
    )
    try:
        await producer.start()
        async with asyncio.timeout(TOPIC_PATIENCE):
            partitions = len(await producer.partitions_for(topic))
        check_partitions(topic, partitions)
    except PartitionsChanged:
        await producer.stop()
        raise
    except KafkaConnectionError as error:
        await producer.stop()
        raise Unreachable(no_broker(bootstrap)) from error
    except TimeoutError as error:
        await producer.stop()
        raise Unreachable(
            f"There is no topic {topic} at {bootstrap}: run `execstream topics apply`."
        ) from error
    return producer, partitions


class _Waiting(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes | None]]
    offset: asyncio.Future[int]


class Producer:
    """Send records of one topic and return the partition and offset of each.

    Records that come within some milliseconds share a request. `close` sends records that callers
    still wait for. The record of a cancelled caller is dropped unless it is in flight, so nothing
    piles up while a broker is unavailable.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer
        self._partitions = 0
        self._waiting: defaultdict[int, deque[_Waiting]] = defaultdict(deque)
        # One batch per partition at a time, so that none can overtake another.
        self._unacknowledged: dict[int, asyncio.Future[Any]] = {}
        self._awaited: set[asyncio.Future[int]] = set()
        self._round: asyncio.Task[None] | None = None
        self._last_round = 0.0  # the loop's time

    async def start(self) -> None:
        """Connect; raises Unreachable without a broker or the topic, and PartitionsChanged."""
        self._producer, self._partitions = await _start(self._bootstrap, self._topic)

    async def close(self) -> None:
        """Return when Kafka has everything that is waited for, or has refused it."""
        while self._awaited:
            await asyncio.wait(self._awaited)
        try:
            async with asyncio.timeout(LAST_PATIENCE):
                await self._producer.stop()
        except TimeoutError:  # the broker is unavailable, and no caller waits for the rest
            await self._producer.client.close()

    async def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Partition and offset of a record, once Kafka has it; `partition` None: that of its key.

        Records are in their partition in the order of the calls. Raises aiokafka's KafkaError
        when Kafka does not take it.
        """
        if partition is None:
            partition = partition_of(key or b"", self._partitions)
        offset = asyncio.get_running_loop().create_future()
        record = _Waiting(key, value, headers, offset)
        self._waiting[partition].append(record)
        self._awaited.add(offset)
        self._begin_round()
        try:
            return partition, await offset
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is in flight already
                self._waiting[partition].remove(record)
            raise
        finally:
            self._awaited.discard(offset)

    def _begin_round(self) -> None:
        if self._round is None:
            self._round = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        """One batch for each partition where records wait and none is unacknowledged."""
        loop = asyncio.get_running_loop()
        try:
            for interval in (INTERVAL_ALONE, INTERVAL):
                await asyncio.sleep(max(LINGER, self._last_round + interval - loop.time()))
                if sum(map(len, self._waiting.values())) == 1:
                    break
            self._last_round = loop.time()
            for partition, waiting in list(self._waiting.items()):
                if waiting and partition not in self._unacknowledged:
                    await self._send_batch(partition, waiting)
        finally:
            self._round = None
        if any(left and part not in self._unacknowledged for part, left in self._waiting.items()):
            self._begin_round()  # they came while this round was held up

    async def _send_batch(self, partition: int, waiting: deque[_Waiting]) -> None:
        batch = self._producer.create_batch()
        taken = []
        while waiting and _append(batch, waiting[0]):
            taken.append(waiting.popleft())
        try:
            delivered = await self._producer.send_batch(batch, self._topic, partition=partition)
        except KafkaError as error:
            delivered = asyncio.get_running_loop().create_future()
            delivered.set_exception(error)
        self._unacknowledged[partition] = delivered
        delivered.add_done_callback(partial(self._answer, partition, taken))

    def _answer(
        self, partition: int, taken: list[_Waiting], delivered: asyncio.Future[Any]
    ) -> None:
        """Answer the senders of one batch, and continue with the senders since then."""
        del self._unacknowledged[partition]
        error = delivered.exception()
        for index, record in enumerate(taken):
            if record.offset.done():
                continue  # its sender was cancelled
            if error:
                record.offset.set_exception(error)
            else:
                record.offset.set_result(delivered.result().offset + index)
        if self._waiting[partition]:
            self._begin_round()


def _append(batch: Any, record: _Waiting) -> bool:
    key, value, headers, _ = record
    return batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is not None


class BulkProducer:
    """Records of one topic, gathered into batches per partition.

    At most one batch per partition is unacknowledged, so `add` waits when the broker is slower.
    Nothing is sent before a batch is full or `flush` is called; leaving the context flushes.

    Attributes:
        sent: records taken by `add`.
        acknowledged: records that Kafka has.
        begins, ends: offset of the first acknowledged record and after the last, by partition.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.begins: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer
        self._filling: list[Any] = []  # aiokafka's batch builders, by partition
        self._unacknowledged: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._producer, partitions = await _start(self._bootstrap, self._topic)
        self._filling = [self._producer.create_batch() for _ in range(partitions)]
        return self

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            for delivery in self._unacknowledged.values():
                delivery.cancel()
            await self._producer.stop()

    async def add(
        self,
        key: bytes | None,
        value: bytes,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Take a record for the partition of its key, unless `partition` names another.

        Raises aiokafka's KafkaError when an earlier batch of the partition was not accepted.
        """
        if partition is None:
            partition = partition_of(key or b"", len(self._filling))
        record = {"timestamp": None, "key": key, "value": value, "headers": [*headers]}
        if self._filling[partition].append(**record) is None:
            await self._send(partition)
            self._filling[partition].append(**record)
        self.sent += 1

    @property
    def partitions(self) -> int:
        """The number of partitions of the topic."""
        return len(self._filling)

    async def flush(self) -> None:
        """Send everything taken so far; return when Kafka has it."""
        for partition, batch in enumerate(self._filling):
            if batch.record_count():
                await self._send(partition)
        while self._unacknowledged:
            await self._unacknowledged.pop(next(iter(self._unacknowledged)))

    async def _send(self, partition: int) -> None:
        if previous := self._unacknowledged.pop(partition, None):
            await previous
        batch = self._filling[partition]
        batch.close()
        self._filling[partition] = self._producer.create_batch()
        self._unacknowledged[partition] = asyncio.create_task(self._deliver(batch, partition))

    async def _deliver(self, batch: Any, partition: int) -> None:
        delivered = await self._producer.send_batch(batch, self._topic, partition=partition)
        place = await delivered
        self.acknowledged += batch.record_count()
        self.begins.setdefault(partition, place.offset)
        self.ends[partition] = place.offset + batch.record_count()
