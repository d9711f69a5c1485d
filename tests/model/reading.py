"""A model of what lies between Kafka and a batch: fetches that are stale, repeated or lost.

One offset is a hole (the marker of a transaction). Chunks carry
the number of the seek that they follow, and the offset that the fetch went on from. `off` is the
guard that is left out. A chunk that is lost has one behind it: without, the probe ends the worker
(`agents.runtime.partition_progress`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tests.model.explorer import Step

RECORDS = (0, 2, 3)  # offsets; 1 is a hole
END = 4

MODELLED = {
    "fetch": ("agents.runtime.faust_app:ConsumerThread._fetch_records",),
    "fetch unstamped": ("agents.runtime.faust_app:ConsumerThread.seek_to_committed",),
    "poll": (
        "agents.runtime.partition_buffer:PartitionBuffer.poll_batch",
        "agents.runtime.partition_buffer:PartitionBuffer._trim",
        "agents.runtime.partition_buffer:PartitionBuffer._seek_back",
        "agents.runtime.partition_buffer:PartitionBuffer._check_holes",
    ),
    "seek": ("agents.runtime.faust_app:ConsumerThread.jump",),
}

ENVIRONMENT = ("lose", "repeat", "retention")  # what Faust and Kafka do


class Chunk(NamedTuple):
    """Records from one fetch; the fetch went on from `base`."""

    stamp: int
    base: int
    offsets: tuple[int, ...]


class Reader(NamedTuple):
    """`wire`: chunks between the fetch and the buffer; `stamp`: NO_STAMP until a seek back."""

    next: int = 0
    stamp: int = 1
    cursor: int = 0
    seeks: int = 1
    wire: tuple[Chunk, ...] = ()
    delivered: tuple[int, ...] = ()
    earliest: int = 0
    crashed: bool = False
    faults: int = 2


class Reading:
    """The steps of a reader."""

    def __init__(self, off: str | None = None) -> None:
        self.off = off

    def steps(self, r: Reader) -> Iterator[Step[Reader]]:
        """Everything that may happen next."""
        if r.crashed:
            return
        left = tuple(offset for offset in RECORDS if offset >= max(r.cursor, r.earliest))
        for count in range(1, len(left) + 1 if len(r.wire) < 2 else 1):
            chunk = Chunk(r.seeks, r.cursor, left[:count])
            yield Step("fetch", r._replace(wire=(*r.wire, chunk), cursor=left[count - 1] + 1))
        if r.wire:
            yield Step("poll", self._polled(r._replace(wire=r.wire[1:]), r.wire[0]))
        if r.faults:
            for label, after in self._faults(r._replace(faults=r.faults - 1)):
                yield Step(label, after, is_fault=True)

    def _faults(self, r: Reader) -> Iterator[tuple[str, Reader]]:
        if any(one.stamp == r.stamp and one.base > r.wire[0].base for one in r.wire[1:]):
            yield "lose", r._replace(wire=r.wire[1:])
        if r.wire:
            yield "repeat", r._replace(wire=(*r.wire, r.wire[0]))
        for first in range(len(RECORDS)):
            unstamped = Chunk(0, 0, RECORDS[first:])
            yield "fetch unstamped", r._replace(wire=(*r.wire, unstamped))
        yield "seek", self._seek(r)
        if r.earliest == 0 and r.next < RECORDS[-1]:  # retention overtakes the reader
            gone = r._replace(earliest=r.next + 1, wire=(), stamp=r.seeks)
            yield "retention", gone._replace(cursor=r.next)

    def _polled(self, r: Reader, chunk: Chunk) -> Reader:
        if chunk.stamp != r.stamp and self.off != "stamp":
            return r
        if chunk.base > r.next and self.off != "base":
            return r if self.off == "seek back" else self._seek(r)
        offsets = tuple(o for o in chunk.offsets if o >= r.next or self.off == "trimming")
        if not offsets:
            return r
        if r.next < r.earliest and offsets[0] > r.next and self.off != "check of holes":
            return r._replace(crashed=True)
        return r._replace(next=offsets[-1] + 1, delivered=r.delivered + offsets)

    def _seek(self, r: Reader) -> Reader:
        return r._replace(stamp=r.seeks + 1, seeks=r.seeks + 1, cursor=r.next)


def invariants() -> Mapping[str, Callable[[Reader], bool]]:
    """See tests.model.invariants."""

    def no_loss(r: Reader) -> bool:
        return {offset for offset in RECORDS if offset < r.next} <= set(r.delivered)

    def no_double(r: Reader) -> bool:
        return len(set(r.delivered)) == len(r.delivered)

    return {"I1": no_loss, "I2": no_double}


def is_goal(r: Reader) -> bool:
    """Everything is delivered, or the worker has refused to step over what is gone."""
    return r.crashed or r.next == END
