r"""Reading records whose header names are not UTF-8, which aiokafka cannot.

Producers may put any bytes there and the broker does not look. aiokafka's decoder raises at such a
record, and so at its partition, for ever. Here a batch that its fast reader cannot read is read
by its plain one, with what is no UTF-8 written as `\\xff`.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


class TolerantRecords:
    """aiokafka's `MemoryRecords`, but for header names."""

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._records = MemoryRecords(buffer)
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> "_Batch":
        self._taken += 1
        return _Batch(self._records.next_batch(), self._buffer, self._taken)


class _Batch:
    def __init__(self, batch: Any, buffer: bytes, number: int) -> None:
        self._batch, self._buffer, self._number = batch, buffer, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from list(self._plain())[read:]

    def _plain(self) -> Iterator[Any]:
        records = _MemoryRecordsPy(self._buffer)
        for _ in range(self._number - 1):
            records.next_batch()
        batch = _DefaultRecordBatchPy(bytes(records._next_slice))
        batch._maybe_uncompress()
        batch._buffer = _TolerantBuffer(batch._buffer)
        return iter(batch)


class _TolerantBuffer(bytearray):
    """Bytes whose slices decode whatever they hold."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _TolerantBuffer(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


def install() -> None:
    """Let all consumers of this process read this way."""
    fetcher.MemoryRecords = TolerantRecords
