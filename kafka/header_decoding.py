r"""Reading record batches that aiokafka reads badly, or not at all.

Producers may put any bytes into the names of headers, and the broker does not look. aiokafka's
decoder raises at such a record, and so at its partition, for ever. Here a batch that its fast
reader cannot read is read by its plain one, with bytes that are not UTF-8 written as `\\xff`.

aiokafka unpacks a compressed batch whole, whatever size it then has. Here one that may have more
than MAX_RECORD_BYTES is read piece by piece (`kafka/large_batches.py`), and of no partition more
than MAX_TAKEN bytes are taken at a time; of all partitions together not more than MAX_FETCHED,
where a `fetch_budget` is set. There, unpacking a large batch takes turns with all else that the
event loop has to do. Batches of the message formats before Kafka 0.11, which brokers of
today do not write any more, are read as aiokafka reads them.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import (
    DefaultRecordBase,
    DefaultRecordBatch,
    _DefaultRecordBatchPy,
)
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from msgspec import Struct

from execstream.kafka.large_batches import (
    MAX_RECORD_BYTES,
    PAUSE,
    LargeBatch,
    SteppedOver,
    uncompressed,
)
from execstream.kafka.unpacking import most_unpacked, pieces, unpacked
from execstream.streams.omitted import OmittedValue

MAX_TAKEN = 4 * 1024 * 1024  # bytes of a partition's records, but for the last one's

MAX_FETCHED = 8 * 1024 * 1024  # bytes of all partitions, but for the last record's


class FetchBudget:
    """The bytes that one fetch may still take, over all partitions.

    `go_on` is called soon after a fetch pauses in the middle of a batch.
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self.left = MAX_FETCHED
        self.go_on = go_on


# That of the fetch of the current context; without one, each partition has MAX_TAKEN.
fetch_budget: ContextVar[FetchBudget | None] = ContextVar("fetch_budget", default=None)

# Whether consumers that are started in this context return each batch as one record.
whole_batches: ContextVar[bool] = ContextVar("whole_batches", default=False)

_HEADER_SIZE = DefaultRecordBase.HEADER_STRUCT.size
_RECORDS_FIELD = 12  # of the header of a batch
_length_of = struct.Struct(">i").unpack_from


class TolerantRecords:
    """aiokafka's `MemoryRecords`, with batches of ours."""

    def __init__(self, buffer: bytes) -> None:
        self._view = memoryview(buffer)
        self._records = MemoryRecords(buffer)
        self._batch = WholeBatch if whole_batches.get() else _Batch
        self._place = 0  # where the next batch begins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if batch is None:
            return None
        begin = self._place
        (length,) = _length_of(self._view, begin + _MemoryRecordsPy.LENGTH_OFFSET)
        self._place += _MemoryRecordsPy.LOG_OVERHEAD + length
        return self._batch(batch, self._view[begin : self._place])


class _Batch:
    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        batch, raw = self._batch, self._raw
        if not isinstance(batch, DefaultRecordBatch):
            return iter(batch)
        compression = batch.compression_type
        packed = raw[_HEADER_SIZE:]
        if most_unpacked(compression, packed) > MAX_RECORD_BYTES:
            whole = unpacked(compression, packed, MAX_RECORD_BYTES)
            if whole is None:
                return _large(LargeBatch(raw, pieces(compression, packed)))
            raw = memoryview(uncompressed(raw, whole))
            batch = DefaultRecordBatch(raw)
        return _tolerant(batch, raw)


class WholeBatch(_Batch):
    """A batch whose only record has the offset and time of its last one, and all of the batch,
    byte for byte, as its value.
    """

    def __iter__(self) -> Iterator[Any]:
        batch = self._batch
        if not isinstance(batch, DefaultRecordBatch):
            raise TypeError("Batches of the formats before Kafka 0.11 are not read whole.")
        yield _Whole(batch.next_offset - 1, batch.max_timestamp, bytes(self._raw))


class _Whole(NamedTuple):
    offset: int
    timestamp: int
    value: bytes
    timestamp_type: int | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    checksum: None = None


def first_offset_in(batch: bytes) -> int:
    """The offset at which a whole batch begins."""
    return int(DefaultRecordBase.HEADER_STRUCT.unpack_from(batch)[0])


def count_in(batch: bytes) -> int:
    """The number of records in a whole batch."""
    return int(DefaultRecordBase.HEADER_STRUCT.unpack_from(batch)[_RECORDS_FIELD])


def records_in(
    tp: TopicPartition, batches: bytes, begin: int, *, check_crcs: bool = False
) -> Iterator[ConsumerRecord]:
    """The records in whole batches, from offset `begin` on, as a consumer returns them. With
    `check_crcs`, raises aiokafka's CorruptRecordException for a batch without its checksum.
    """
    found = TolerantRecords(batches)
    found_in: tuple[Any, ...] = (tp, found, [], begin, None, None)
    return iter(fetcher.PartitionRecords(*found_in, check_crcs, fetcher.READ_UNCOMMITTED))


def _large(batch: LargeBatch) -> Iterator[Any]:
    last = None
    for found in batch.segments():
        if found is None:
            if fetch_budget.get() is not None:
                yield batch.pause()
            continue
        segment, omitted = found
        raw = memoryview(segment)
        for record in _tolerant(DefaultRecordBatch(raw), raw):
            last = record.offset
            yield record if omitted is None else _stepped_over(record, omitted)
    if batch.is_cut:
        yield from batch.unread(last)


def _stepped_over(record: Any, omitted: OmittedValue) -> SteppedOver:
    return SteppedOver(
        record.offset,
        record.timestamp,
        record.timestamp_type,
        omitted,
        record.key,
        record.headers,
    )


def _tolerant(batch: Any, raw: memoryview) -> Iterator[Any]:
    """The records of `batch`, which is read from `raw`."""
    read = 0
    try:
        for record in batch:
            yield record
            read += 1
    except UnicodeDecodeError:
        yield from list(_plain(raw))[read:]


def _plain(raw: memoryview) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()
    batch._buffer = _TolerantBuffer(batch._buffer)
    return iter(batch)


class _TolerantBuffer(bytearray):
    """Bytes with slices that always decode."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _TolerantBuffer(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class QuickRecord(Struct, gc=False):
    """A `ConsumerRecord` that is made in a third of the time of aiokafka's."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int
    headers: tuple[tuple[str, bytes | None], ...]


class BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc] # it has no types
    """aiokafka's, which would take all that was fetched of a partition at once."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records, in order: at most `max_records` and about MAX_TAKEN, and none when
        other partitions have used up the budget of the fetch.
        """
        budget = fetch_budget.get()
        if budget is not None and budget.left <= 0:
            return []
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken, size = self._take(max_records)
        if budget is not None:
            budget.left -= size
        return taken

    def _take(self, max_records: int | None) -> tuple[list[Any], int]:
        taken: list[Any] = []
        size = 0
        for record in self._partition_records:
            value = record.value
            if value is PAUSE:
                self._pause(taken)
                return taken, size
            taken.append(record)
            is_plain = value.__class__ is bytes and not record.headers
            size += len(value) if is_plain else _size(record)
            if size >= MAX_TAKEN or len(taken) == max_records:
                self._update_position()
                return taken, size
        self._update_position()
        self._partition_records = None
        return taken, size

    def _pause(self, taken: list[Any]) -> None:
        """Go on behind the last record, although the reader takes a pause for one."""
        state = self._assignment.state_value(self._topic_partition)
        self._partition_records.next_fetch_offset = (
            taken[-1].offset + 1 if taken else state.position
        )
        self._update_position()
        budget = fetch_budget.get()
        if budget is not None:
            asyncio.get_running_loop().call_soon(budget.go_on)


def _size(record: Any) -> int:
    """The size of a record in bytes, also of one that was skipped: unpacking it took as long."""
    value = record.value
    size = len(value or b"")
    if record.headers:
        size += sum([len(name) + len(value or b"") for name, value in record.headers])
    if not size and isinstance(value, OmittedValue):
        return value.size or 0
    return size


def install() -> None:
    """Let all consumers of this process read this way."""
    fetcher.MemoryRecords = TolerantRecords
    fetcher.FetchResult = BoundedFetchResult
    fetcher.ConsumerRecord = QuickRecord
