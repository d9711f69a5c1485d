"""Batches that are too large to be unpacked whole: record by record, without the largest ones.

A record over MAX_RECORD_BYTES is stepped over: its value is an `OmittedValue`, which has its size.
So are all records behind the first MAX_BATCH_BYTES of a batch, which are not even unpacked: one
record stands for them, and a caller that needs them sets `most_bytes` and reads again.
"""

from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import decode_varint, encode_varint

from execstream.streams.omitted import OmittedValue

# More than any of our topics accepts: events may have 20 MiB.
MAX_RECORD_BYTES = 24 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024 * 1024  # unpacked: seconds of CPU
# Of a batch, for reads of the current context.
most_bytes: ContextVar[int] = ContextVar("most_bytes", default=MAX_BATCH_BYTES)
MAX_KEY_BYTES = 64 * 1024  # of a record that is stepped over; so much of headers too

_SEGMENT = 1024 * 1024  # bytes of records that are read together
_TURN = 32 * 1024 * 1024  # bytes that are unpacked between two pauses, some 0.1 s of CPU
_LONGEST = 32  # bytes of a record before its key, at most
_HEADER = DefaultRecordBase.HEADER_STRUCT


class Segment(NamedTuple):
    """Records as an uncompressed batch of their own. `omitted` stands for the value of its only
    record, which is not in it."""

    batch: bytes
    omitted: OmittedValue | None = None


Result = TypeVar("Result")
Pausing = Generator[None, None, Result]


class SteppedOver(NamedTuple):
    """A record without its value; of those that were not unpacked nothing else is known but their
    offsets, and the time is that of the last record of their batch."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: OmittedValue
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    checksum: None = None


PAUSE: Final = OmittedValue(None, 0)  # the value of a record that stands for a pause


def uncompressed(
    header: bytes | memoryview, records: bytes | bytearray | memoryview, count: int | None = None
) -> bytes:
    """An uncompressed batch with the header of another one; `count` of records, if not the same."""
    fields = list(_HEADER.unpack_from(header))
    fields[1] = _HEADER.size - DefaultRecordBase.AFTER_LEN_OFFSET + len(records)
    fields[5] &= ~DefaultRecordBase.CODEC_MASK
    if count is not None:
        fields[12] = count
    return b"".join((_HEADER.pack(*fields), records))


class LargeBatch:
    """Reads the records of one batch. `header`: its own; `pieces`: its records, unpacked."""

    def __init__(self, header: bytes | memoryview, pieces: Iterator[bytes]) -> None:
        fields = _HEADER.unpack_from(header)
        self._header = header
        self._base_offset, self._last = fields[0], fields[0] + fields[6]
        self._timestamp, self._count = fields[8], fields[12]
        self._timestamp_type = int(bool(fields[5] & DefaultRecordBase.TIMESTAMP_TYPE_MASK))
        self._pieces = pieces
        self._most = most_bytes.get()
        self._held = bytearray()  # unpacked, and not given away
        self._passed = 0  # bytes that were given away, or stepped over
        self._turn_ends = _TURN  # when so many have passed
        self.is_cut = False  # whether `segments` ended before the batch

    def segments(self) -> Iterator[Segment | None]:
        """The records up to MAX_BATCH_BYTES, in order; large ones without their values. None is a
        pause, in which the reader may do something else: the next segment takes a while."""
        place = records = 0  # in the held bytes: bytes and records of the next segment
        for _ in range(self._count):
            self._hold(place + _LONGEST)
            length, begin = self._varint(place)
            is_large = length > MAX_RECORD_BYTES
            is_over = self._passed + begin + length > self._most
            if records and (is_large or is_over or place >= _SEGMENT):
                yield self._segment(place, records)
                yield from self._pause()
                begin -= place
                place = records = 0
            if is_large:
                yield (yield from self._large(begin, length, is_last=is_over))
            if is_over:
                self.is_cut = True
                return
            if not is_large:
                self._need(begin + length)
                place, records = begin + length, records + 1
        if records:
            yield self._segment(place, records)
        self._hold(1)
        if self._held:
            raise CorruptRecordException("There are bytes behind the last record of a batch")

    def pause(self) -> SteppedOver:
        """The placeholder of a pause: a PAUSE at the last offset of the batch."""
        return SteppedOver(self._last, self._timestamp, self._timestamp_type, PAUSE)

    def unread(self, after: int | None) -> Iterator[SteppedOver]:
        """One record, the last, that stands for all behind the one with offset `after`; None: for
        all of the batch. There may be millions of them."""
        first = self._base_offset if after is None else after + 1
        if first <= self._last:
            value = OmittedValue(None, MAX_BATCH_BYTES, range(first, self._last + 1))
            yield SteppedOver(self._last, self._timestamp, self._timestamp_type, value)

    def _segment(self, size: int, records: int) -> Segment:
        with memoryview(self._held) as held:
            made = Segment(uncompressed(self._header, held[:size], records))
        self._drop(size)
        return made

    def _large(self, begin: int, length: int, *, is_last: bool) -> Pausing[Segment]:
        """The record of `length` bytes from `begin` on, as one without a value. When it `is_last`,
        nothing behind its key is needed."""
        self._drop(begin)
        end = self._passed + length
        self._hold(_LONGEST)
        place = 0
        for _ in ("attributes", "time", "offset"):
            _, place = self._varint(place, -(2**63))
        body = self._held[:place]
        key_size, place = self._varint(place, -1)
        self._drop(place)
        size = length
        headers = b"\0"
        if key_size > MAX_KEY_BYTES and is_last:
            body += _NO_BYTES
        else:
            body += yield from self._bounded(key_size)
            self._hold(_LONGEST)
            value_size, place = self._varint(0, -1)
            self._drop(place)
            size = value_size if value_size > MAX_RECORD_BYTES else length
            if not is_last:
                yield from self._skip(max(value_size, 0))
                headers = yield from self._rest(end - self._passed)
        body += _NO_BYTES + headers
        record = _varint(len(body)) + body
        omitted = OmittedValue(size, MAX_RECORD_BYTES)
        return Segment(uncompressed(self._header, record, 1), omitted)

    def _bounded(self, size: int) -> Pausing[bytes]:
        """The next `size` bytes with their length in front, as a record has them; none where they
        are too many."""
        if size < 0:
            return _NO_BYTES
        if size > MAX_KEY_BYTES:
            yield from self._skip(size)
            return _NO_BYTES
        return _varint(size) + self._take(size)

    def _rest(self, size: int) -> Pausing[bytes]:
        """The headers of a record, which have the last `size` bytes of it; none where they are too
        many."""
        if size < 1:
            raise CorruptRecordException("Invalid record size: its value goes beyond its end")
        if size > MAX_KEY_BYTES:
            yield from self._skip(size)
            return b"\0"
        return self._take(size)

    def _varint(self, place: int, least: int = 0) -> tuple[int, int]:
        """The number at `place` of the held bytes, and the place behind it."""
        try:
            number, end = decode_varint(self._held, place)
        except (IndexError, ValueError) as error:
            raise CorruptRecordException(_TOO_SHORT) from error
        if end > len(self._held):
            raise CorruptRecordException(_TOO_SHORT)
        if number < least:
            raise CorruptRecordException(f"Invalid size {number} in a record batch")
        return number, end

    def _hold(self, size: int) -> None:
        """Hold `size` bytes, or all there are."""
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._held += piece

    def _need(self, size: int) -> None:
        self._hold(size)
        if len(self._held) < size:
            raise CorruptRecordException(_TOO_SHORT)

    def _take(self, size: int) -> bytes:
        self._need(size)
        taken = bytes(self._held[:size])
        self._drop(size)
        return taken

    def _drop(self, size: int) -> None:
        del self._held[:size]
        self._passed += size

    def _skip(self, size: int) -> Pausing[None]:
        while size > len(self._held):
            size -= len(self._held)
            self._drop(len(self._held))
            yield from self._pause()
            self._need(1)
        self._drop(size)

    def _pause(self) -> Pausing[None]:
        if self._passed >= self._turn_ends:
            self._turn_ends = self._passed + _TURN
            yield None


def _varint(number: int) -> bytes:
    made = bytearray()
    encode_varint(number, made.append)
    return bytes(made)


_NO_BYTES = _varint(-1)
_TOO_SHORT = "A record batch ends within a record"
