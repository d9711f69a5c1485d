"""Event buses: every event once, in order, though the listener is cut off meanwhile."""

import asyncio
import random
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import TypeAdapter
from redis.asyncio import Redis
from structlog.testing import capture_logs

from devstack import Addresses
from execstream.reference import read_json
from storage import AsyncRedisExecutionEventBus, RedisExecutionEventBus, exact_json
from storage.buses import subscription
from storage.lines import Line
from storage.messages.views import RunViews
from storage.migrate import migrate
from storage.models import ExecutionEvent, GraphExecution, NodeExecutionEvent, NodeExecutionResult
from streams.events import Event
from tests.names import Names
from tests.orders import Orders
from tests.storage.factories import DAWN, OWNER
from tests.storage.histories import History
from tests.storage.proxy import Cable, cable

PATIENCE = 20.0  # seconds
RUN = {"id": "r", "user_id": OWNER, "graph_id": "graph", "graph_version": 1, "status": "RUNNING"}


@dataclass
class Scene:
    """Tables, a teller of events who may be silent, and buses to listen on."""

    servers: Addresses
    names: Names
    history: History
    redis: Redis
    views: RunViews
    cable: Cable
    redis_url: str  # of the near end of the cable
    told: list[Event] = field(default_factory=list)

    @property
    def place(self) -> dict[str, Any]:
        """What a bus has to know."""
        return {
            "redis_url": self.redis_url,
            "postgres_dsn": self.servers.postgres_dsn,
            "schema": self.names.schema,
            "redis_prefix": self.names.redis_prefix,
        }

    async def happen(self, orders: Iterable[Any]) -> list[Event]:
        """Commit commands and tell of them as the bridge does."""
        events = await self.history.take((order.key, order.value) for order in orders)
        for event in events:
            channel, message = self.views.message_for(event)
            await self.redis.publish(channel, message)
        self.told += events
        return events


@pytest.fixture
async def scene(stack: Addresses, names: Names) -> AsyncIterator[Scene]:
    await migrate(stack.postgres_dsn, names.schema)
    line = Line(stack.postgres_dsn, names.schema)
    views = RunViews(names.redis_prefix)
    async with Redis.from_url(stack.redis_url) as redis, cable(stack.redis_url) as (between, url):
        yield Scene(stack, names, History(line), redis, views, between, url)
    await line.close()


def life(orders: Orders, *, values: int = 3) -> list[Any]:
    """A run from its creation to its end."""
    return [
        orders.create(orders.node("a", inputs={"x": 0.1})),
        orders.start(),
        orders.move_step("a", "RUNNING"),
        *(orders.emit("a", data=number) for number in range(values)),
        orders.move_step("a", "COMPLETED"),
        orders.give("b", data="text"),
        orders.move("COMPLETED", stats={"cost": 3, "walltime": 1.5}),
    ]


async def heard(events: Any, count: int) -> list[ExecutionEvent]:
    """The next `count` events."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


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


async def test_a_gap_is_filled_from_the_journal(scene: Scene) -> None:
    """What was said while the listener was away comes once and in order, as it was said: of runs
    it knew, of runs that began and ended meanwhile, and nothing of what was before."""
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
        assert [_payload(event) for event in found if _run_of(event) == orders.run_id] == [
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

    for run_id in {_run_of(event) for event in found}:
        told = [event.seq for event in scene.told if event.graph_exec_id == run_id]
        assert [event.seq for event in found if _run_of(event) == run_id] == told


async def test_a_redis_that_falls_silent_is_noticed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection nobody ended is given up when not even a question is answered."""
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


async def test_an_erased_run_is_told_by_its_end(scene: Scene) -> None:
    """Of a run that was erased while the listener was away, the closing event is left."""
    orders = Orders()
    steps = life(orders)
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        first = await scene.happen(steps)
        await heard(events, len(first))
        scene.cable.cut()
        [closing] = await scene.happen([orders.order("graph.delete", hard=True)])
        scene.cable.mend()
        [found] = await heard(events, 1)

    assert (found.seq, _run_of(found)) == (closing.seq, orders.run_id)


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
    ],
)
async def test_what_nobody_can_parse_is_counted_and_logged(scene: Scene, message: bytes) -> None:
    """And the next event comes; the log does not repeat what was said."""
    orders = Orders()
    async with AsyncRedisExecutionEventBus(**scene.place) as bus, bus.listen(OWNER) as events:
        with capture_logs() as logs:
            await scene.redis.publish(f"{bus.event_bus_name}/{OWNER}/graph/x", message)
            told = await scene.happen([orders.create()])
            [found] = await heard(events, 1)

    assert found.seq == told[0].seq
    assert bus.counts.unparsable == 1
    [line] = [line for line in logs if line["event"] == "not_an_event"]
    assert set(line) == {"event", "log_level", "bytes", "wrong"}


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
        while not waiting.done():  # when it began to listen is not told
            told += await scene.happen([orders.emit("a")])
        found = await waiting

    assert nothing is None
    assert found is not None
    assert found.seq in [event.seq for event in told]


async def test_states_can_be_published_by_hand(scene: Scene) -> None:
    """They arrive as they were, numbers and all, without a place; a share token does not travel."""
    run = GraphExecution(
        **RUN, inputs={"exact": read_json("0.12345678901234567890")}, outputs={"o": [10**30, 0.5]}
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
    }


async def test_a_large_state_is_shortened(scene: Scene) -> None:
    """And says so."""
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
    """A pattern could reach what the caller may not see."""
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


def _as_told(scene: Scene, events: Iterable[Event]) -> list[ExecutionEvent]:
    views = RunViews(scene.names.redis_prefix)
    adapter: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)
    messages: list[Any] = [exact_json.decode(views.message_for(event)[1]) for event in events]
    return [adapter.validate_python(message["payload"]) for message in messages]


def _payload(event: ExecutionEvent) -> dict[str, Any]:
    return event.model_dump()


def _run_of(event: ExecutionEvent) -> str:
    return event.id if isinstance(event, GraphExecution) else event.graph_exec_id


async def until(holds: Callable[[], object]) -> None:
    """Return when it holds; it happens in another task."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
