"""Events to be published again: page by page, from anywhere, with rebased offsets."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage.connections import Session
from execstream.storage.log.dead_letters import dead_letters_after
from execstream.storage.log.events import events_after
from execstream.streams.events import SourceOffset
from execstream.workload.reference import read_event
from tests.agents.applying import NOON, TOPIC, Desk, desk
from tests.orders import Order, Orders

NOWHERE = (-1, -1)


@pytest.fixture
async def place(stack: Addresses) -> AsyncIterator[Desk]:
    async with desk(stack, partitions=1) as own:
        yield own


@pytest.fixture
async def connection(place: Desk) -> AsyncIterator[asyncpg.Connection]:
    settings = place.applier._settings
    session = Session(settings.postgres, settings.schema_)
    yield await session.get()
    await session.close()


async def apply(place: Desk, *orders: Order) -> None:
    await place.apply(*[order._replace(partition=0) for order in orders])


async def some_history(place: Desk) -> None:
    """12 commands: 5 of them give several events, 4 give none."""
    orders = Orders()
    created = orders.create(*[orders.node(name, inputs={"in": 1}) for name in "abc"])
    await apply(
        place,
        created,
        created,
        orders.raw(b"bad"),
        orders.start(),
        orders.start(),
        orders.move_steps("abc", "RUNNING"),
        orders.keep(),
        orders.give("d"),
        orders.raw(b"bad"),
        orders.raw(b"bad"),
        orders.emit("a"),
        orders.move("COMPLETED"),
    )


async def all_after(
    connection: asyncpg.Connection, after: SourceOffset, before: int
) -> list[bytes]:
    found = []
    page = await events_after(connection, 0, after, before)
    while page.last is not None:
        places = [one.place for one in page.events]
        assert places == sorted(places)
        assert places[0] > after
        assert places[-1] == page.last
        found += [one.value for one in page.events]
        after = page.last
        page = await events_after(connection, 0, after, before)
    return found


@pytest.mark.parametrize("page", [1, 2, 3, 2_000])
async def test_pages_together_are_everything(
    place: Desk, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """However large they are, and wherever reading begins: also in the middle of a command."""
    monkeypatch.setattr("execstream.storage.log.events.PAGE", page)
    await some_history(place)
    live = [read_event(value) for value in place.said.events[0]]
    places = [(offset, index) for _, offset, index in (event["source"] for event in live)]

    for begin, after in enumerate([NOWHERE, *places]):
        found = await all_after(connection, after, place.ends[0])
        assert list(map(read_event, found)) == live[begin:]


async def test_nothing_is_read_beyond_what_was_claimed(
    place: Desk, connection: asyncpg.Connection
) -> None:
    """The new owner publishes its own commits itself."""
    await some_history(place)

    found = [read_event(one) for one in await all_after(connection, NOWHERE, 5)]

    assert {event["source"][1] for event in found} == {0, 3, 4}


async def test_offsets_may_be_rebased(place: Desk, connection: asyncpg.Connection) -> None:
    """After a topic was made anew, sources go on above the old ones."""
    await some_history(place)
    await place.db.execute("update consumer_offset set base = 1000, next_offset = 0")
    await place.claim(0)
    place.ends[0] = 0
    await some_history(place)

    events = [read_event(value) for value in place.said.events[0]]
    found = await all_after(connection, NOWHERE, place.ends[0] + 1000)

    assert list(map(read_event, found)) == events
    offsets = [event["source"][1] for event in events]
    assert offsets == sorted(offsets)
    assert offsets[-1] == 1011


async def test_dead_letters_are_found_by_their_place(
    place: Desk, connection: asyncpg.Connection
) -> None:
    """Between two offsets, neither of them included."""
    await some_history(place)

    found = await dead_letters_after(connection, TOPIC, 0, 2, 9)

    assert [(letter.offset, letter.value, letter.timestamp) for letter in found] == [
        (8, b"bad", NOON)
    ]
    assert len(await dead_letters_after(connection, TOPIC, 0, -1, 100)) == 3
    assert await dead_letters_after(connection, TOPIC, 1, -1, 100) == []
    assert await dead_letters_after(connection, "other", 0, -1, 100) == []
