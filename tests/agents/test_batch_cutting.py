"""Batches end before their effects are too large, and no user waits for the commands of others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

import pytest
from faust.types import TP

from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.devstack import Addresses
from execstream.storage.commit import write_set
from tests.agents.applying import TOPIC, Desk, Record, desk
from tests.comparing import assert_events_equal, assert_rows_equal
from tests.orders import Order, Orders


@pytest.fixture
async def place(stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A desk at which a commit is full with 10 entries, or 10,000 characters."""
    monkeypatch.setattr(write_set, "MAX_ENTRIES", 10)
    monkeypatch.setattr(write_set, "MAX_BYTES", 10_000)
    async with desk(stack, partitions=3) as own:
        yield own


def wide(partition: int, pins: int, **fields: Any) -> Order:
    """A creation that makes `pins` entries and two more."""
    orders = Orders()
    node = orders.node("n", inputs={f"pin{number}": 1 for number in range(pins)})
    return orders.create(node, **fields)._replace(partition=partition)


def small(partition: int, count: int) -> list[Order]:
    return [wide(partition, 0) for _ in range(count)]


async def batches(place: Desk, *orders: Order) -> list[dict[int, int]]:
    """The number of records of each partition in each commit; the orders of a partition come in one
    fetch.
    """
    for number, some in groupby(sorted(orders, key=_partition), key=_partition):
        place.buffer.receive([_fetched(place, number, list(some))])
    return await committed(place)


async def committed(place: Desk) -> list[dict[int, int]]:
    """The commits of the records in the buffer."""
    found = []
    done = {number: owned.done for number, owned in place.owned.items()}
    queue: asyncio.Queue[Any] = asyncio.Queue()
    while batch := await place.buffer.poll_batch(queue):
        await place.commit(batch)
        now = {number: owned.done for number, owned in place.owned.items()}
        found.append({n: now[n] - done[n] for n in now if now[n] > done[n]})
        done = now
    return found


def _partition(order: Order) -> int:
    assert order.partition is not None
    return order.partition


def _fetched(place: Desk, number: int, orders: Sequence[Order]) -> FetchedRecords:
    first = place.ends[number]
    records = [
        Record(number, first + index, one.key, one.value) for index, one in enumerate(orders)
    ]
    for one in records:
        place.reference.feed(one.partition, one.offset, one.key, one.value)
    place.ends[number] += len(records)
    return FetchedRecords(TP(TOPIC, number), records, place.owned[number].stamp, first)


async def assert_as_told(place: Desk) -> None:
    await assert_rows_equal(place.db, place.reference)
    assert_events_equal(place.said.events, place.reference.events())


async def test_a_batch_ends_when_it_is_full(place: Desk) -> None:
    """It ends by entries, except for those of its last command; in order, and nothing is lost."""
    found = await batches(place, *(wide(0, 4) for _ in range(5)))

    assert found == [{0: 2}, {0: 2}, {0: 1}]
    await assert_as_told(place)


async def test_bytes_count_too(place: Desk) -> None:
    """Values, and stats that a command repeats for each of its steps."""
    orders = Orders()
    steps = [orders.node(name) for name in "abcd"]
    move = orders.move_steps("abcd", "RUNNING", stats={"a": "x" * 3_000})
    found = await batches(
        place,
        orders.create(*steps)._replace(partition=0),
        move._replace(partition=0),
        *(wide(1, 0, inputs={"a": "x" * 6_000}) for _ in range(4)),
        *small(0, 1),
    )

    assert found == [{0: 2}, {1: 2}, {0: 1, 1: 2}]
    await assert_as_told(place)


async def test_who_sends_little_does_not_wait(place: Desk) -> None:
    """The partition with the largest commands comes last, and goes on beside new records."""
    found = await batches(place, *small(1, 1), *(wide(0, 8) for _ in range(4)), *small(2, 2))

    assert found == [{0: 1, 1: 1, 2: 2}, {0: 1}, {0: 1}, {0: 1}]


async def test_a_partition_is_passed_over_once(place: Desk) -> None:
    """A partition that was passed over comes first in the next batch."""
    found = await batches(
        place,
        *(wide(0, 8, inputs={"a": "x" * 2_000}) for _ in range(2)),
        *small(1, 5),
        *small(2, 4),
    )

    assert found == [{1: 1, 2: 4}, {0: 1}, {0: 1, 1: 4}]
    await assert_as_told(place)


async def test_the_end_of_a_run_counts_its_steps(place: Desk) -> None:
    """That it fails each step that is running is seen while folding only."""
    ends = []
    for _ in range(3):
        orders = Orders()
        await batches(
            place,
            orders.create(*(orders.node(name) for name in "abcdef"))._replace(partition=0),
            orders.start()._replace(partition=0),
            orders.move_steps("abcdef", "RUNNING")._replace(partition=0),
        )
        ends.append(orders.move("FAILED")._replace(partition=0))

    found = await batches(place, *ends, *small(1, 1))

    assert found == [{0: 2, 1: 1}, {0: 1}]
    await assert_as_told(place)
