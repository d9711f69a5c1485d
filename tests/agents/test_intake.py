"""Faust's deliveries are not trusted: stamps and offsets decide which records become a batch.

Faults are injected where Faust would make them: in the deliveries.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.types import TP

from execstream.agents.runtime import partition_buffer as module
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import (
    AssignedPartition,
    Batch,
    PartitionBuffer,
    Position,
)
from tests.agents.applying import TOPIC, Record

LIMIT = 1_000


class Crashed(Exception):
    """Stands for the end of the process."""


class Stored:
    """Positions that are always the same."""

    def __init__(self, *positions: Position) -> None:
        self.positions = positions

    async def claim(self, _: str, earliest: Mapping[int, int]) -> list[Position]:
        return [one for one in self.positions if one.partition in earliest]


class Consumer:
    """Remembers the offset to which it was moved."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.jumps: list[tuple[dict[int, int], int]] = []
        self.earliest: dict[TP, int] = {}
        self.is_lost = False
        self.meanwhile: Callable[[], None] = lambda: None

    async def jump(self, positions: Mapping[TP, int], stamp: int) -> None:
        if self.is_lost:
            raise IllegalStateError
        self.jumps.append(({tp.partition: at for tp, at in positions.items()}, stamp))
        self.meanwhile()

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return {tp: self.earliest.get(tp, 0) for tp in tps}


@dataclass
class Delivery:
    """The content of Faust's queue."""

    value: list[FetchedRecords]


class Reading:
    """An intake that owns partition 0, at offset 10."""

    def __init__(self, buffer: PartitionBuffer, consumer: Consumer) -> None:
        self.buffer, self.consumer = buffer, consumer
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def part(self) -> AssignedPartition:
        return self.buffer.owned[0]

    @property
    def stamp(self) -> int:
        return self.consumer.jumps[-1][1]

    def deliver(
        self, *offsets: int, base: int | None = None, stamp: int | None = None, partition: int = 0
    ) -> None:
        records = [Record(partition, offset, b"key", b"value") for offset in offsets]
        first = offsets[0] if base is None else base
        fetched = FetchedRecords(TP(TOPIC, partition), records, stamp or self.stamp, first)
        self.buffer.receive([fetched])

    async def poll_batch(self, limit: int = LIMIT) -> list[int]:
        """The offsets of the next batch."""
        return offsets(await self.buffer.poll_batch(self.queue, limit))


def offsets(batch: Batch) -> list[int]:
    return [record.offset for part in batch for record in part.records]


@pytest.fixture
async def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    def crash(reason: str, **_: Any) -> None:
        raise Crashed(reason)

    monkeypatch.setattr(module, "crash", crash)
    buffer = PartitionBuffer(TOPIC, Stored(Position(0, 10, 1), Position(1, 0, 1)))
    consumer = Consumer()
    await buffer.take_over(await buffer.claim({TP(TOPIC, 0): (0, 100)}), consumer)
    return Reading(buffer, consumer)


async def test_what_comes_in_order_becomes_batches(reading: Reading) -> None:
    """Stretches of several fetches are joined, and cut at the limit."""
    reading.deliver(10, 11)
    reading.deliver(12, 13, 14)

    assert await reading.poll_batch(4) == [10, 11, 12, 13]
    assert await reading.poll_batch(4) == [14]
    assert await reading.poll_batch(4) == []
    assert reading.part.next == 15


async def test_what_was_fetched_before_the_seek_is_dropped(reading: Reading) -> None:
    """It carries another stamp, even if its offsets would fit."""
    reading.deliver(10, 11, stamp=reading.stamp - 1)
    reading.deliver(10, 11, stamp=reading.stamp + 1)
    reading.deliver(10, 12, base=10)

    assert await reading.poll_batch() == [10, 12]


async def test_what_got_lost_on_the_way_is_fetched_again(reading: Reading) -> None:
    """A fetch that went on above the expected offset leads to a seek back; nothing is accepted
    until then.
    """
    old = reading.stamp
    reading.deliver(12, 13)
    reading.deliver(14)

    assert await reading.poll_batch() == []
    assert reading.consumer.jumps[1:] == [({0: 10}, reading.part.stamp)]
    reading.deliver(15, stamp=old)
    assert await reading.poll_batch() == []

    reading.deliver(10, 11, 12)
    assert await reading.poll_batch() == [10, 11, 12]
    assert len(reading.consumer.jumps) == 2


async def test_a_batch_before_what_got_lost_is_not(reading: Reading) -> None:
    """Records in order are taken; only those behind the loss are fetched again."""
    reading.deliver(10)
    reading.deliver(12)

    assert await reading.poll_batch() == [10]
    assert reading.consumer.jumps[-1][0] == {0: 11}


async def test_a_seek_back_of_a_lost_partition_does_not_matter(reading: Reading) -> None:
    """It was taken away between the delivery and the seek."""
    reading.consumer.is_lost = True
    reading.deliver(12)

    assert await reading.poll_batch() == []


async def test_a_hole_is_stepped_over(reading: Reading) -> None:
    """The fetch went on from the expected offset and found the next record above it: a transaction
    marker, or compaction.
    """
    reading.deliver(12, 13, base=10)
    reading.deliver(17, base=14)

    batch = await reading.buffer.poll_batch(reading.queue, LIMIT)

    assert offsets(batch) == [12, 13, 17]
    assert (batch[0].expected, batch[0].next_offset) == (10, 18)


async def test_a_hole_below_what_the_topic_holds_is_a_loss(reading: Reading) -> None:
    """Retention deleted unread records: they are never stepped over in silence."""
    reading.consumer.earliest[TP(TOPIC, 0)] = 12
    reading.deliver(12, base=10)

    with pytest.raises(Crashed, match="retention"):
        await reading.poll_batch()


async def test_what_was_taken_before_is_cut_off(reading: Reading) -> None:
    """Records below the expected offset, as of a batch in mid-fetch, are trimmed."""
    reading.deliver(10, 11)
    reading.deliver(10, 11, 12, base=10)

    assert await reading.poll_batch() == [10, 11, 12]


async def test_a_stretch_of_nothing_new_is_nothing(reading: Reading) -> None:
    """All of it was taken before."""
    reading.deliver(10, 11)
    reading.deliver(10, 11)

    assert await reading.poll_batch() == [10, 11]


async def test_a_fetch_that_begins_below_where_it_went_on_ends_the_process(
    reading: Reading,
) -> None:
    """The consumer moved back without being asked."""
    reading.deliver(10)
    reading.deliver(10, 11, base=11)

    with pytest.raises(Crashed, match="moved back"):
        await reading.poll_batch()


@pytest.mark.parametrize(("earliest", "end"), [(11, 100), (0, 9)])
async def test_a_position_outside_the_topic_is_refused(
    reading: Reading, earliest: int, end: int
) -> None:
    """The topic was made anew, or its retention was quicker than the worker."""
    with pytest.raises(Crashed, match="not in the topic"):
        await reading.buffer.claim({TP(TOPIC, 0): (earliest, end)})


@pytest.mark.parametrize(("earliest", "end"), [(10, 10), (10, 100), (0, 10)])
async def test_a_position_at_the_edge_of_the_topic_is_fine(
    reading: Reading, earliest: int, end: int
) -> None:
    """All was read, or nothing was lost yet."""
    (part,) = await reading.buffer.claim({TP(TOPIC, 0): (earliest, end)})
    assert part.next == 10


async def test_a_batch_of_a_lost_assignment_is_not_ours(reading: Reading) -> None:
    """Even when the same partition comes back, at the same position."""
    reading.deliver(10)
    batch = await reading.buffer.poll_batch(reading.queue, LIMIT)
    assert reading.buffer.owns(batch)

    reading.buffer.lose_all()
    assert not reading.buffer.owns(batch)
    await reading.buffer.take_over(
        await reading.buffer.claim({TP(TOPIC, 0): (0, 100)}), reading.consumer
    )

    assert not reading.buffer.owns(batch)
    assert await reading.poll_batch() == []


async def test_what_is_lost_during_the_seek_is_not_taken_over(reading: Reading) -> None:
    """Otherwise a worker would continue with the partitions of another one."""
    reading.buffer.lose_all()
    claimed = await reading.buffer.claim({TP(TOPIC, 0): (0, 100)})
    reading.consumer.meanwhile = reading.buffer.lose_all

    assert not await reading.buffer.take_over(claimed, reading.consumer)
    assert reading.buffer.owned == {}

    reading.consumer.meanwhile = lambda: None
    assert await reading.buffer.take_over(claimed, reading.consumer)
    assert set(reading.buffer.owned) == {0}


async def test_a_batch_holds_so_many_bytes(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is bounded in bytes, however few records these are; records left in the queue delay
    the next fetch.
    """
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    for first in (10, 14, 18, 22):
        records = [Record(0, first + index, b"key", b"valu") for index in range(4)]
        await reading.queue.put(
            Delivery([FetchedRecords(TP(TOPIC, 0), records, reading.stamp, first)])
        )

    assert await reading.poll_batch() == [10, 11, 12]
    assert reading.queue.qsize() == 3
    assert await reading.poll_batch() == [13, 14, 15]
    assert await reading.poll_batch() == [16, 17, 18]
    assert await reading.poll_batch(1) == [19]
    assert await reading.poll_batch() == [20, 21, 22]
    assert await reading.poll_batch() == [23, 24, 25]
    assert await reading.poll_batch() == []


async def test_what_waits_when_partitions_are_lost_is_forgotten(reading: Reading) -> None:
    """Later records are forgotten, too."""
    reading.deliver(10)
    reading.buffer.lose_all()
    reading.deliver(11, base=10)

    assert await reading.poll_batch() == []


async def test_nothing_is_delivered_after_stop(reading: Reading) -> None:
    """Delivered batches may still be committed."""
    reading.deliver(10)
    batch = await reading.buffer.poll_batch(reading.queue, LIMIT)
    reading.deliver(11)
    reading.buffer.stop()

    assert await reading.poll_batch() == []
    assert reading.buffer.owns(batch)


@pytest.mark.parametrize("size", [2, 3, 7])
async def test_halves_are_a_batch_together(reading: Reading, size: int) -> None:
    """Until single records: each half goes on where the other ends."""
    reading.deliver(*range(10, 10 + size))
    batch = await reading.buffer.poll_batch(reading.queue, LIMIT)

    todo, singles = [batch], []
    while todo:
        one = todo.pop()
        todo += reversed(one.halves()) if one.size > 1 else []
        singles += [one] if one.size == 1 else []

    edges = [(one[0].expected, one[0].next_offset) for one in singles]
    assert edges == [(offset, offset + 1) for offset in range(10, 10 + size)]
