"""Event buses: every event once, in order; republished events; unreadable messages."""

import asyncio
import secrets
import threading
from collections.abc import Iterable, Sequence
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from execstream.models import (
    ExecutionEvent,
    GraphExecution,
    NodeExecutionEvent,
    NodeExecutionResult,
)
from execstream.storage.redis.buses import AsyncRedisExecutionEventBus, RedisExecutionEventBus
from tests.orders import Orders
from tests.storage.factories import DAWN, OWNER
from tests.storage.hearing import PATIENCE, Scene, heard, life

RUN = {"id": "r", "user_id": OWNER, "graph_id": "graph", "graph_version": 1, "status": "RUNNING"}


async def test_events_come_as_they_happen(scene: Scene) -> None:
    """Each with the whole state, those of the listener's runs only, all of them in order."""
    mine, foreign = Orders(), Orders(user_id="eve")
    async with (
        AsyncRedisExecutionEventBus(**scene.place) as bus,
        bus.listen(OWNER) as events,
    ):
        await scene.happen(life(foreign))
        told = await scene.happen(life(mine))
        found = await heard(events, len(told))

    assert [event.seq for event in found] == [event.seq for event in told]
    assert {event.user_id for event in found} == {OWNER}
    last_of_step = [event for event in found if isinstance(event, NodeExecutionEvent)][-3]
    assert last_of_step.status == "COMPLETED"
    assert last_of_step.input_data == {"x": 0.1}
    assert last_of_step.output_data == {"out": [0, 1, 2]}
    assert found[-1].status == "COMPLETED"


async def test_what_is_told_once_more_is_marked(scene: Scene) -> None:
    """It comes though it was heard before, or before anything was heard, and takes nothing away."""
    old, orders = Orders(), Orders()
    steps = life(orders)
    past = await scene.commit(life(old))
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        await scene.replay(past)
        told = await scene.happen(steps[:4])
        await scene.replay(told)
        found = await heard(events, len(past) + 2 * len(told))

    assert _marks(found) == [
        *((True, event.seq) for event in past),
        *((False, event.seq) for event in told),
        *((True, event.seq) for event in told),
    ]
    assert bus.counts.unparsable == 0


async def test_what_is_told_once_more_may_be_ahead(scene: Scene) -> None:
    """The bridge has not published it yet: the later event, and earlier ones, come all the same."""
    orders = Orders()
    steps = life(orders)
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        await scene.happen(steps[:2])
        behind = await scene.commit(steps[2:])
        await scene.replay([*scene.told, *behind])
        await scene.tell(behind, scene.views)
        found = await heard(events, 2 * len(scene.told) + 2 * len(behind))

    live = [event for event in found if not event.replayed]
    assert [event.seq for event in live] == [event.seq for event in [*scene.told, *behind]]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"payload": 1}',
        b'{"payload": {"event_type": "odd"}}',
        b"1e9999999999999999999",
        b"[" * 100_000,
    ],
)
async def test_what_nobody_can_parse_is_counted_and_logged(scene: Scene, message: bytes) -> None:
    """The next event comes; the log does not repeat the message."""
    orders = Orders()
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        with capture_logs() as logs:
            await scene.redis.publish(f"{bus.event_bus_name}/{OWNER}/graph/x", message)
            told = await scene.happen([orders.create()])
            [found] = await heard(events, 1)

    assert found.seq == told[0].seq
    assert bus.counts.unparsable == 1
    [session] = [session for session in logs if session["event"] == "not_an_event"]
    assert set(session) == {"event", "log_level", "bytes", "wrong"}


async def test_waiting_may_be_given_up_and_begun_again(scene: Scene) -> None:
    """No event is lost to a wait that was cancelled."""
    orders = Orders()
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.01)
        told = await scene.happen(life(orders))
        found = await heard(events, len(told))

    assert [event.seq for event in found] == [event.seq for event in told]


async def test_one_event_can_be_waited_for(scene: Scene) -> None:
    """None when nothing comes in time."""
    orders = Orders()
    async with AsyncRedisExecutionEventBus(**scene.place) as bus:
        nothing = await bus.wait_for_event(0.05, OWNER)
        waiting = asyncio.create_task(bus.wait_for_event(PATIENCE, graph_exec_id=orders.run_id))
        told = await scene.happen([orders.create(orders.node("a"))])
        while not waiting.done():  # the time of its subscription is unknown
            told += await scene.happen([orders.emit("a")])
        found = await waiting

    assert nothing is None
    assert found is not None
    assert found.seq in [event.seq for event in told]


async def test_states_can_be_published_by_hand(scene: Scene) -> None:
    """They arrive as they were, numbers and all, without a place; a share token does not travel."""
    run = GraphExecution(
        **RUN, inputs={"exact": Decimal("0.12345678901234567890")}, outputs={"o": [10**30, 0.5]}
    )
    run.share_token = secrets.token_urlsafe()
    step = NodeExecutionResult(
        user_id=OWNER,
        graph_id="graph",
        graph_version=1,
        graph_exec_id="r",
        node_exec_id="s",
        node_id="node",
        block_id="block",
        status="QUEUED",
        input_data={},
        output_data={},
        add_time=DAWN,
    )
    async with (
        AsyncRedisExecutionEventBus(**scene.place) as bus,
        bus.listen(OWNER, "graph", "r") as events,
    ):
        await bus.publish(run)
        await bus.publish(step)
        of_run, of_step = await heard(events, 2)

    assert isinstance(of_run, GraphExecution)
    assert (of_run.inputs, of_run.outputs) == (run.inputs, run.outputs)
    assert of_run.share_token is None
    assert of_run.seq is None
    assert isinstance(of_step, NodeExecutionEvent)
    assert of_step.model_dump(exclude={"event_type"}) == {
        **step.model_dump(),
        "seq": None,
        "command_id": None,
        "source": None,
        "truncated": False,
        "replayed": False,
    }


async def test_a_large_state_is_shortened(scene: Scene) -> None:
    """It has `truncated`."""
    run = GraphExecution(**RUN, inputs={"text": "x" * 100_000}, outputs={})
    async with (
        AsyncRedisExecutionEventBus(**scene.place, max_message_bytes=8_000) as bus,
        bus.listen(OWNER) as events,
    ):
        await bus.publish(run)
        [found] = await heard(events, 1)

    assert found.truncated
    assert isinstance(found, GraphExecution)
    assert len(found.inputs["text"]) < 8_000


def test_an_id_that_is_none_is_refused() -> None:
    """A pattern could reach data that the caller may not see."""
    bus = AsyncRedisExecutionEventBus("redis://nowhere", "postgres://nowhere")

    for user_id in ("a*", "?", "[ab]", "", "a/b"):
        with pytest.raises(ValueError, match="user_id is"):
            bus.listen(user_id)


async def test_threads_listen_too(scene: Scene) -> None:
    """The same, without asyncio; and many threads at once."""
    orders = Orders()
    steps = life(orders)
    count = 12
    ready = threading.Barrier(3)

    def listen(bus: RedisExecutionEventBus) -> Sequence[int | None]:
        with bus.listen(OWNER) as events:
            ready.wait(PATIENCE)
            return [next(events).seq for _ in range(count)]

    with RedisExecutionEventBus(**scene.place) as bus:
        listeners = [asyncio.create_task(asyncio.to_thread(listen, bus)) for _ in range(2)]
        await asyncio.to_thread(ready.wait, PATIENCE)
        told = await scene.happen(steps[:5])
        scene.cable.cut()
        told += await scene.happen(steps[5:])
        scene.cable.mend()
        found = await asyncio.gather(*listeners)
        nothing = await asyncio.to_thread(bus.wait_for_event, 0.05)
        await asyncio.to_thread(bus.publish, GraphExecution(**RUN, inputs={}, outputs={}))

    assert found == [[event.seq for event in told][:count]] * 2
    assert nothing is None


def _marks(events: Iterable[ExecutionEvent]) -> list[tuple[bool, int | None]]:
    return [(event.replayed, event.seq) for event in events]
