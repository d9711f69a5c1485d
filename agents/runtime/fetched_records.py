"""Records as Kafka holds them, and those that were fetched and wait to be polled.

The records of a laden partition wait apart: they take no room from those of the others.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from faust.types import TP


class Record(Protocol):
    """A record as Kafka holds it; `timestamp` in milliseconds."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def size_of(record: Record) -> int:
    size = len(record.value or b"")
    if record.headers:
        size += sum([len(value or b"") for _, value in record.headers])
    return size


class FetchedRecords(list[Record]):
    """Records of one partition from one fetch, in order; `bytes`: of those not taken yet."""

    __slots__ = ("base", "bytes", "stamp", "tp")

    def __init__(self, tp: TP, records: Iterable[Record], stamp: int, base: int) -> None:
        super().__init__(records)
        self.tp, self.stamp, self.base = tp, stamp, base
        self.bytes = sum([size_of(record) for record in self])


class WaitingRecords:
    """Fetched records in order: of laden partitions by partition, of all others together."""

    def __init__(self) -> None:
        self.together: deque[FetchedRecords] = deque()
        self.laden: dict[TP, deque[FetchedRecords]] = {}

    def of(self, tp: TP) -> deque[FetchedRecords]:
        """Those among which records of this partition wait."""
        return self.laden.get(tp, self.together)

    def burden(self, tps: Iterable[TP]) -> None:
        """Let these partitions be laden."""
        for tp in tps:
            if tp not in self.laden:
                mine = [one for one in self.together if one.tp == tp]
                self.together = deque([one for one in self.together if one.tp != tp])
                self.laden = {**self.laden, tp: deque(mine)}

    def unburden(self) -> None:
        """Let partitions of which nothing waits not be laden any more."""
        self.laden = {tp: waiting for tp, waiting in self.laden.items() if waiting}

    def pass_turn(self, tp: TP) -> None:
        """Put a laden partition behind the others."""
        others = {other: waiting for other, waiting in self.laden.items() if other != tp}
        self.laden = others | {tp: self.laden[tp]}

    def clear(self) -> None:
        for waiting in (self.together, *self.laden.values()):
            waiting.clear()
        self.laden = {}
