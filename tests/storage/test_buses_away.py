"""Event buses with listeners that are cut off: every event once, in order, and an end when asked
to.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import TypeAdapter

from execstream.models import ExecutionEvent
from execstream.storage.redis.buses import (
    AsyncRedisExecutionEventBus,
    RedisExecutionEventBus,
    subscription,
)
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams import exact_json
from execstream.streams.events import Event
from tests.orders import Orders
from tests.storage.factories import OWNER
from tests.storage.hearing import Scene, heard, life, run_of, until
from tests.storage.proxy import Cable, cable


async def test_a_gap_is_filled_from_the_journal(scene: Scene) -> None:
    """Messages published while the listener was cut off come once and in order, unchanged: of runs
    it knew, of runs that began and ended meanwhile, and no earlier ones.
    """
    before, known, unknown, later = (Orders() for _ in range(4))
    await scene.happen(life(before))
    steps = life(known, values=400)  # more than a page of the journal
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        first = await scene.happen(steps[:5])
        found = await heard(events, len(first))
        scene.cable.cut()
        missed = await scene.happen(steps[5:])
        missed += await scene.happen(life(unknown))
        scene.cable.mend()
        found += await heard(events, len(missed))
        last = await scene.happen(life(later))
        found += await heard(events, len(last))

    assert bus.counts.cut_off == 1
    for orders in (known, unknown, later):
        told = [event for event in scene.told if event.graph_exec_id == orders.run_id]
        assert [_payload(event) for event in found if run_of(event) == orders.run_id] == [
            _payload(event) for event in _as_told(scene, told)
        ]
    assert len(found) == len(first) + len(missed) + len(last)


async def test_what_is_heard_again_is_not_told_again(scene: Scene) -> None:
    """A bridge that begins again repeats itself; so does the end of a gap."""
    orders = Orders()
    steps = life(orders)
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        told = await scene.happen(steps[:4])
        again = [scene.views.message_for(event) for event in told]
        found = await heard(events, len(told))
        scene.cable.cut()
        told += await scene.happen(steps[4:6])
        scene.cable.mend()
        found += await heard(events, len(told) - len(found))
        for channel, message in again:
            await scene.redis.publish(channel, message)
        told += await scene.happen(steps[6:])
        found += await heard(events, len(told) - len(found))

    assert [event.seq for event in found] == [event.seq for event in told]


@pytest.mark.parametrize("seed", range(4))
async def test_cuts_at_any_time_lose_nothing(scene: Scene, seed: int) -> None:
    """Many runs at once, cut off again and again, in the midst of filling a gap too: every event
    once, those of a run in order."""
    chance = random.Random(seed)
    lives = [life(Orders(), values=30) for _ in range(6)]
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        found: list[ExecutionEvent] = []
        while any(lives):
            steps = chance.choice([life for life in lives if life])
            taken = [steps.pop(0) for _ in range(min(len(steps), chance.randrange(1, 9)))]
            await scene.happen(taken)
            chance.choice([scene.cable.cut, scene.cable.mend, scene.cable.mend])()
            if chance.random() < 0.5:
                with suppress(TimeoutError):
                    found.append(await asyncio.wait_for(anext(events), 0.05))
        scene.cable.mend()
        found += await heard(events, len(scene.told) - len(found))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.2)

    for run_id in {run_of(event) for event in found}:
        told = [event.seq for event in scene.told if event.graph_exec_id == run_id]
        assert [event.seq for event in found if run_of(event) == run_id] == told


async def test_a_redis_that_falls_silent_is_noticed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was not closed is given up when a ping has no answer."""
    monkeypatch.setattr(subscription, "SILENCE", 0.1)
    orders = Orders()
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        scene.cable.block()
        waiting = asyncio.create_task(heard(events, 1))
        told = await scene.happen([orders.create()])
        await until(lambda: bus.counts.cut_off > 0)
        scene.cable.mend()
        [found] = await waiting

    assert found.seq == told[0].seq


@pytest.mark.slow
@pytest.mark.parametrize("lose", [Cable.cut, Cable.hang])
@pytest.mark.parametrize("server", ["redis", "postgres"])
async def test_closing_ends_whoever_waits(
    scene: Scene, server: str, lose: Callable[[Cable], None]
) -> None:
    """Also while a server is away, for as long as it is; and nothing stays open at either."""
    found: list[ExecutionEvent] = []
    async with cable(scene.servers.postgres_dsn) as (to_postgres, dsn):
        with RedisExecutionEventBus(**scene.place | {"postgres_dsn": dsn}) as bus:
            events = bus.listen(OWNER)
            await asyncio.to_thread(events.__enter__)
            waiting = threading.Thread(target=found.extend, args=[events], daemon=True)
            waiting.start()
            lose(to_postgres if server == "postgres" else scene.cable)
            if server == "postgres":  # which is asked after a cut
                scene.cable.cut()
                scene.cable.mend()
            await until(lambda: bus.counts.cut_off > 0)
            await asyncio.sleep(0.7)  # it is trying to connect anew
            await asyncio.to_thread(events.close)
            await asyncio.to_thread(waiting.join, 2)
            assert not waiting.is_alive()
        to_postgres.mend()
        scene.cable.mend()
        await until(lambda: not to_postgres.connections and not scene.cable.connections)
    assert found == []


async def test_an_erased_run_is_told_by_its_end(scene: Scene) -> None:
    """The closing event is left of a run that was erased while the listener was cut off."""
    orders = Orders()
    steps = life(orders)
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        first = await scene.happen(steps)
        await heard(events, len(first))
        scene.cable.cut()
        [closing] = await scene.happen([orders.order("graph.delete", hard=True)])
        scene.cable.mend()
        [found] = await heard(events, 1)

    assert (found.seq, run_of(found)) == (closing.seq, orders.run_id)


def _as_told(scene: Scene, events: Iterable[Event]) -> list[ExecutionEvent]:
    views = RunViews(scene.names.redis_prefix)
    adapter: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)
    messages: list[Any] = [exact_json.decode(views.message_for(event)[1]) for event in events]
    return [adapter.validate_python(message["payload"]) for message in messages]


def _payload(event: ExecutionEvent) -> dict[str, Any]:
    return event.model_dump()
