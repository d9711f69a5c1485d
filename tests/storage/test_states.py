"""States read back from the journal are those that were folded, now or as of then."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.storage.connections import Session
from execstream.storage.log.run_states import load_key_values, load_runs
from execstream.streams.key_values import KeyValues
from execstream.streams.statuses import ExecutionStatus
from tests.agents.applying import Desk, desk
from tests.orders import DAWN, Order, Orders


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


def moved(orders: Orders) -> list[Order]:
    return [
        orders.create(orders.node("a", inputs={"in": "x" * 1000})),
        orders.start(),
        orders.move_step("a", "RUNNING", stats={"cost": 1.50, "big": 10**30}),
        orders.give("b"),
        orders.move_steps(["a", "b", "c"], "TERMINATED"),
        orders.order("graph.share", is_shared=True, share_token_hash="ab" * 32),
    ]


async def test_a_run_is_what_was_folded(place: Desk, connection: asyncpg.Connection) -> None:
    """Steps, pins, times, owner, and the outcome of each command."""
    orders = Orders()
    await apply(place, *moved(orders))
    live: Any = place.applier._cache.get(orders.run_id)

    run = (await load_runs(connection, [orders.run_id]))[orders.run_id]

    assert run.steps.keys() == live.steps.keys()
    assert run.outcomes == live.outcomes
    assert run.steps[orders.named("b")] == live.steps[orders.named("b")]
    assert (run.is_shared, run.shared_at, run.last_seq) == (True, live.shared_at, live.last_seq)
    assert run.oldest_taking("b", "other") is None


async def test_a_run_as_it_was(place: Desk, connection: asyncpg.Connection) -> None:
    """Before any of its entries."""
    orders = Orders()
    await apply(place, *moved(orders))
    statuses = []

    for seq in range(2, 11):
        runs = await load_runs(connection, [orders.run_id], {orders.run_id: seq})
        run = runs[orders.run_id]
        assert run.last_seq == seq - 1
        statuses.append((run.status, *[step.status for step in run.steps.values()]))

    s = ExecutionStatus
    assert statuses == [
        (s.INCOMPLETE,),
        (s.INCOMPLETE, s.QUEUED),
        (s.INCOMPLETE, s.QUEUED),
        (s.RUNNING, s.QUEUED),
        (s.RUNNING, s.RUNNING),
        (s.RUNNING, s.RUNNING, s.INCOMPLETE),
        (s.RUNNING, s.RUNNING, s.INCOMPLETE),
        (s.RUNNING, s.TERMINATED, s.INCOMPLETE),
        (s.RUNNING, s.TERMINATED, s.TERMINATED),
    ]


async def test_unknown_runs_are_left_out(place: Desk, connection: asyncpg.Connection) -> None:
    """Asking for many finds those that exist."""
    orders = Orders()
    await apply(place, orders.create())

    assert set(await load_runs(connection, [Orders().run_id, orders.run_id])) == {orders.run_id}
    assert await load_runs(connection, []) == {}


async def test_what_is_left_of_an_erased_run(place: Desk, connection: asyncpg.Connection) -> None:
    """The tombstone has the owner, the partition, and the command that erased it."""
    orders = Orders()
    last = orders.order("graph.delete", hard=True)
    await apply(place, *moved(orders), last)

    run = (await load_runs(connection, [orders.run_id]))[orders.run_id]

    assert (run.is_deleted, run.is_erased, run.is_shared) == (True, True, False)
    assert (run.user_id, run.partition, run.steps) == ("ada", 0, {})
    assert [outcome.first for outcome in run.outcomes.values()] == [run.last_seq]


async def test_key_values_are_known_as_they_are_stored(
    place: Desk, connection: asyncpg.Connection
) -> None:
    """The time of each write is known, and the commands that had their effect."""
    orders = Orders()
    kept = orders.keep("k", at=DAWN.isoformat())
    await apply(place, kept)
    known = KeyValues()
    command_id = orders.named("command/1")

    await load_key_values(
        connection,
        known,
        [("ada", "k"), ("ada", "other"), ("eve", "k")],
        [("ada", command_id), ("eve", command_id)],
    )

    assert known.written == {("ada", "k"): DAWN, ("ada", "other"): None, ("eve", "k"): None}
    assert known.applied == {("ada", command_id)}


async def test_what_could_not_be_asked_is_asked_again(
    place: Desk, connection: asyncpg.Connection
) -> None:
    """A query that fails leaves nothing behind that looks like an answer."""
    orders = Orders()
    await apply(place, orders.keep("k", at=DAWN.isoformat()))
    known = KeyValues()
    about = ([("ada", "k")], [("ada", orders.named("command/1"))])
    settings = place.applier._settings
    dead = await Session(settings.postgres, settings.schema_).get()
    await dead.close()

    with pytest.raises(asyncpg.InterfaceError):
        await load_key_values(dead, known, *about)
    await load_key_values(connection, known, *about)

    assert known.written == {("ada", "k"): DAWN}
    assert known.applied == set(about[1])
