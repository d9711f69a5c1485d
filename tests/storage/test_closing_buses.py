"""Closing a listener ends it in every state, while Postgres is silent and Redis answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from execstream.models import ExecutionEvent
from execstream.storage.redis.buses import AsyncRedisExecutionEventBus
from execstream.storage.redis.buses.listening import Listening
from execstream.storage.redis.buses.missed_events import History
from execstream.streams.events import SourceOffset
from tests.orders import Orders
from tests.storage.factories import OWNER
from tests.storage.hearing import Scene, heard, life, until
from tests.storage.proxy import Cable, cable

DEADLINE = 60.0  # seconds; no wait for a server below takes as long
# Rounds of the event loop between a cut and the closing. Those after a longer pause are in the
# middle of the wait for Postgres, or of the pause between two tries.
ROUNDS = (*range(40), *range(40, 400, 45))


@asynccontextmanager
async def listening(scene: Scene) -> AsyncIterator[tuple[Listening, Cable]]:
    """A listener that is connected, and its cable to Postgres; at the end nothing is plugged in."""
    async with cable(scene.servers.postgres_dsn) as (to_postgres, dsn):
        async with AsyncRedisExecutionEventBus(**scene.place | {"postgres_dsn": dsn}) as bus:
            events = bus.listen(OWNER)
            await events.__aenter__()
            yield events, to_postgres
        to_postgres.mend()
        await until(lambda: not to_postgres.connections and not scene.cable.connections)


def lose_postgres(scene: Scene, to_postgres: Cable) -> None:
    """Let Postgres be silent, and Redis be back after a cut, upon which Postgres is asked."""
    to_postgres.hang()
    scene.cable.cut()
    scene.cable.mend()


async def close(events: Listening) -> None:
    async with asyncio.timeout(DEADLINE):
        await events.aclose()


async def take(events: Listening) -> list[ExecutionEvent]:
    """Wait for events until there are no more."""
    return [event async for event in events]


@pytest.mark.parametrize("pause", [0.0, 0.6])
async def test_at_any_moment(scene: Scene, pause: float) -> None:
    """Closing ends the waiting task in any state, and the task goes on as if it had not been
    cancelled.
    """
    for rounds in ROUNDS if not pause else ROUNDS[::8]:
        async with listening(scene) as (events, to_postgres):
            waiting = asyncio.create_task(take(events))
            await asyncio.sleep(0)
            lose_postgres(scene, to_postgres)
            await asyncio.sleep(pause)
            for _ in range(rounds):
                await asyncio.sleep(0)

            await close(events)

            async with asyncio.timeout(DEADLINE):
                assert await waiting == []
            assert waiting.cancelling() == 0


async def test_while_nobody_waits(scene: Scene) -> None:
    """The goodbye to a Postgres that is silent has an end."""
    async with listening(scene) as (events, to_postgres):
        to_postgres.block()
        await close(events)


async def test_after_a_wait_was_given_up(scene: Scene) -> None:
    """A statement was cancelled that Postgres has not answered: nor will it hear of that."""
    orders = Orders()
    async with listening(scene) as (events, to_postgres):
        told = await scene.happen(life(orders))
        await heard(events, len(told))
        to_postgres.block()
        scene.cable.cut()
        scene.cable.mend()
        for _ in range(3):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    await anext(events)
        await close(events)


async def test_a_swallowed_cancellation(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` of Python 3.11 does when the awaited task ends in that moment."""
    committed = History.committed
    swallowed = 0

    async def swallowing(history: History) -> dict[int, SourceOffset]:
        nonlocal swallowed
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed > 2:
                raise
        return await committed(history)

    async with listening(scene) as (events, to_postgres):
        monkeypatch.setattr(History, "committed", swallowing)
        waiting = asyncio.create_task(take(events))
        lose_postgres(scene, to_postgres)
        await asyncio.sleep(0.6)

        await close(events)

        async with asyncio.timeout(DEADLINE):
            assert await waiting == []
    assert swallowed


async def test_both_are_cancelled(scene: Scene) -> None:
    """A cancellation by the owner of the task that waits is not lost in that of closing."""
    async with listening(scene) as (events, _):
        waiting = asyncio.create_task(take(events))
        await asyncio.sleep(0.1)

        waiting.cancel()
        await close(events)

        with pytest.raises(asyncio.CancelledError):
            await waiting
