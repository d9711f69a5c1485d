"""Heavy commands are applied apart: no other partition waits for their commit."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Self

import pytest

from execstream.agents.apply import batch_cutting, pipeline
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.devstack import Addresses
from execstream.storage.commit import write_set
from tests.agents.applying import Desk, Record, desk
from tests.comparing import assert_events_equal, assert_rows_equal
from tests.orders import Order, Orders

HEAVY = 10  # entries


@pytest.fixture
async def place(stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(batch_cutting, "HEAVY_ENTRIES", HEAVY)
    async with desk(stack, partitions=3) as own:
        yield own


class Gate:
    """Holds the connection of heavy commits back until it is opened; fails `failures` times."""

    def __init__(self, place: Desk, monkeypatch: pytest.MonkeyPatch, failures: int = 0) -> None:
        self.opened, self.asked, self.failures = asyncio.Event(), asyncio.Event(), failures
        self._get = place.applier._apart.get
        monkeypatch.setattr(place.applier._apart, "get", self.get)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()  # the applier waits for it when it is closed

    async def get(self) -> object:
        self.asked.set()
        await self.opened.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError("cut")
        return await self._get()


def heavy(run: Orders) -> Order:
    return run.create(run.node("n", inputs={f"pin{number}": 1 for number in range(HEAVY)}))


async def send(place: Desk, partition: int, *orders: Order) -> None:
    """Have them fetched, polled and committed, but for heavy ones."""
    await begin(place, partition, *orders)
    if place.applier._in_flight is not None:
        await place.applier._in_flight


async def begin(place: Desk, partition: int, *orders: Order) -> None:
    """Have them fetched and polled."""
    end = place.ends[partition]
    records = [
        Record(partition, end + index, one.key, one.value) for index, one in enumerate(orders)
    ]
    place.ends[partition] += len(records)
    for one in records:
        place.reference.feed(one.partition, one.offset, one.key, one.value)
    owned = place.owned[partition]
    place.buffer.receive([FetchedRecords(owned.tp, records, owned.stamp, end)])
    queue: asyncio.Queue[object] = asyncio.Queue()
    while batch := await place.buffer.poll_batch(queue):
        await place.applier.apply(batch)


async def assert_as_told(place: Desk) -> None:
    await place.settled()
    assert {n: owned.done for n, owned in place.owned.items()} == {
        number: place.ends[number] for number in place.owned
    }
    await assert_rows_equal(place.db, place.reference)
    published = {number: events for number, events in place.said.events.items() if events}
    assert_events_equal(published, place.reference.events())


async def test_others_do_not_wait(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier records of its partition are committed; later ones wait."""
    with Gate(place, monkeypatch) as gate:
        run = Orders()
        await send(place, 0, Orders().create(), heavy(run), run.start(), heavy(Orders()))
        await gate.asked.wait()
        await send(place, 1, Orders().create())
        await send(place, 1, Orders().create())

        assert {n: owned.done for n, owned in place.owned.items()} == {0: 1, 1: 2, 2: 0}
        assert {tp.partition for tp in place.buffer.laden} == {0}
        gate.opened.set()
        await assert_as_told(place)
        assert not place.buffer.laden


async def test_a_failed_commit_is_made_again(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gate(place, monkeypatch, failures=1) as gate:
        run = Orders()
        await send(place, 0, heavy(run), run.start())
        gate.opened.set()
        await send(place, 1, Orders().create())
        await assert_as_told(place)
        assert gate.failures == 0


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_batch_of_its_run_waits(
    place: Desk, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A command of another partition is judged by the run that is committed, or by none; also when
    the first commit of the run fails.
    """
    with Gate(place, monkeypatch, failures) as gate:
        run = Orders()
        await send(place, 0, heavy(run))
        await gate.asked.wait()
        foreign = asyncio.ensure_future(send(place, 1, run.start()))
        done, _ = await asyncio.wait([foreign], timeout=0.3)
        assert not done
        gate.opened.set()
        await foreign
        await assert_as_told(place)


def orders_of(chance: Random, *, is_heavy: bool) -> list[Order]:
    """Commands of three runs, some of them heavy or none, and values of their users."""
    lists = []
    for number in range(3):
        run = Orders(user_id=f"user-{chance.getrandbits(32)}")
        pins = chance.choice([1, HEAVY, 2 * HEAVY]) if is_heavy else 1
        nodes = [run.node(f"n{node}", inputs={"pin": 1}) for node in range(pins)]
        lists.append(
            [
                *(run.create(*nodes), run.start(), run.give("b"), run.keep(f"key {number}")),
                *(run.move_steps([f"n{node}" for node in range(pins)], "QUEUED"), run.emit("b")),
                *(run.move_step(step, "RUNNING") for step in ("n0", "b")),
                *(run.raw(b"no command"), run.move("RUNNING"), run.move("COMPLETED")),
            ]
        )
    sent: list[Order] = []
    while any(lists):
        sent.append(chance.choice([one for one in lists if one]).pop(0))
        if chance.random() < 0.1:
            sent.append(chance.choice(sent))
    return sent


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_commits(
    place: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each one may be the last, and may fail before or after it is done."""
    chance = Random(seed)
    is_apart, has_failed = False, False

    async def commit_sometime(*arguments: Any) -> bool:
        nonlocal is_apart, has_failed
        is_apart |= place.applier._commit_apart is not None
        await asyncio.sleep(chance.choice([0, 0.01, 0.05]))
        # Not twice in a row: a batch that fails again and again is suspect.
        fails = not has_failed and chance.random() < 0.3
        has_failed = fails
        if fails and chance.random() < 0.5:
            raise ConnectionResetError("cut before")
        done = await write_set.commit(*arguments)
        if fails:
            raise ConnectionResetError("the answer got lost")
        return done

    monkeypatch.setattr(pipeline, "commit", commit_sometime)
    left = {number: orders_of(chance, is_heavy=number > 0) for number in place.owned}
    while waiting := [number for number, orders in left.items() if orders]:
        number = chance.choice(waiting)
        count = chance.randint(1, 6)
        await begin(place, number, *left[number][:count])
        del left[number][:count]
        await asyncio.sleep(chance.choice([0, 0, 0.02]))
    await assert_as_told(place)
    assert is_apart
