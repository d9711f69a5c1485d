"""Names that Faust and aiokafka keep to themselves, and that the worker relies on: an upgrade that
changes one must fail here, not in production."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.tables.manager import TableManager
from faust.transport import conductor
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from execstream.agents.runtime import faust_app, waits
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.worker import FETCHING, build_app
from tests.agents.applying import TOPIC, Record
from tests.worker import settings_at

OVERRIDDEN = [
    (faust_app.ConsumerThread, driver.AIOKafkaConsumerThread),
    (faust_app.Consumer, driver.Consumer),
    (faust_app.Producer, driver.Producer),
    (faust_app.OneEventPerFetch, DefaultSchedulingStrategy),
    (waits.TableManager, TableManager),
    (waits.Worker, faust.Worker),
]
# Ours alone: every other method of ours overrides one of Faust's.
ADDED = {
    "ConsumerThread": {
        *("ends", "jump", "_go_on", "_laden", "_jump"),
        *("partition_counts", "_partition_counts"),
    },
    "Consumer": {
        "ends",
        "jump",
        "reclaim",
        "_acquire",
        "_retry_claim",
        "_check_partitions",
        "_refuse",
        "_is_over",
        "_claim",
    },
}


@pytest.mark.parametrize(("ours", "theirs"), OVERRIDDEN)
def test_what_is_overridden_is_there(ours: type, theirs: type) -> None:
    """Under the same name, and it is called in the same way: async stays async."""
    own = {name for name, what in vars(ours).items() if inspect.isfunction(what)}
    overriding = {name for name in own if hasattr(theirs, name)}
    assert own - overriding == ADDED.get(ours.__name__, set())
    for name in overriding:
        is_async = inspect.iscoroutinefunction(getattr(theirs, name))
        assert inspect.iscoroutinefunction(getattr(ours, name)) == is_async, name


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.AIOKafkaConsumerThread, "_seek_wait"),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer"),
        (driver.AIOKafkaConsumerThread, "_fetch_records"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "call_thread"),
        (driver.AIOKafkaConsumerThread, "seek_to_committed"),
        (FaustConsumer, "perform_seek"),
        (FaustConsumer, "on_partitions_revoked"),
        (FaustConsumer, "on_partitions_assigned"),
        (driver.Consumer, "_new_consumer_thread"),
        (driver.Consumer, "_commit"),
        (driver.Producer, "_settings_extra"),
        (TableManager, "_update_channels"),
    ],
)
def test_what_is_called_is_there(owner: type, name: str) -> None:
    """Faust still has it under this name."""
    assert callable(getattr(owner, name))


def test_the_seek_is_perform_seek() -> None:
    """Faust calls it after recovery and before the first record."""
    from faust.tables import recovery  # noqa: PLC0415 - read, not used

    assert "perform_seek" in inspect.getsource(recovery)


async def test_settings_of_the_consumer_are_there() -> None:
    """Under these names aiokafka keeps them, and reads them when it starts."""
    consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")

    assert isinstance(consumer._fetch_max_wait_ms, int)
    assert consumer._fetch_min_bytes == 1
    assert consumer._isolation_level == "read_uncommitted"
    await consumer.stop()
    started = inspect.getsource(AIOKafkaConsumer.start)
    assert "self._fetch_max_wait_ms" in started
    assert "self._fetch_min_bytes" in started
    assert "self._isolation_level" in started


async def test_where_a_partition_stands_is_there() -> None:
    """Under these names aiokafka keeps it."""
    tp = TopicPartition("topic", 0)
    subscription = SubscriptionState()
    subscription.assign_from_user([tp])
    state = subscription.subscription.assignment.state_value(tp)
    state.reset_to(7)

    assert (state.lso, state.has_valid_position, state.position) == (None, True, 7)
    assert ".lso = " in inspect.getsource(fetcher)


def test_the_producer_takes_our_settings() -> None:
    """`_settings_extra` is the hook by which Faust adds to aiokafka's arguments."""
    accepted = inspect.signature(AIOKafkaProducer.__init__).parameters
    extra = faust_app.Producer._settings_extra(SimpleNamespace())  # type: ignore[arg-type]

    assert extra == {"acks": "all", "enable_idempotence": True}
    assert accepted.keys() >= extra.keys()
    assert "self._settings_extra()" in inspect.getsource(driver.Producer)


@pytest.fixture
def build(stack: Any) -> Iterator[Callable[[str], Any]]:
    """Builds the app of a role. Threads of consumers have loops of their own from the beginning."""
    apps: list[Any] = []

    def build(role: str) -> Any:
        apps.append(build_app(role, settings_at(stack)))
        return apps[-1]

    yield build
    for app in apps:
        app.consumer._thread.thread_loop.close()


async def test_an_app_uses_all_of_them(build: Callable[[str], Any]) -> None:
    """The transport, the scheduler and the settings reach Faust's objects."""
    app = build("apply")

    assert isinstance(app.transport, faust_app.Transport)
    assert app.conf.ConsumerScheduler.__name__ == "OneEventPerFetch"
    assert type(app.consumer) is faust_app.Consumer
    assert type(app.consumer._thread) is faust_app.ConsumerThread
    assert type(app.producer) is faust_app.Producer
    assert app.conf.agent_supervisor.__name__ == "CrashingSupervisor"
    assert not app.conf.topic_allow_declare


@pytest.mark.parametrize("role", FETCHING)
async def test_fetches_are_held_back_as_the_role_wants(
    build: Callable[[str], Any], role: str
) -> None:
    """The broker holds them back for a number of bytes, or of milliseconds."""
    app = build(role)

    consumer = app.consumer._thread._create_worker_consumer(app.transport)

    assert (consumer._fetch_min_bytes, consumer._fetch_max_wait_ms) == FETCHING[role]
    await consumer.stop()


async def test_a_full_buffer_stops_the_fetching_of_nothing(build: Callable[[str], Any]) -> None:
    """Faust asks, and its own answer leaves the partition out of the next fetch."""
    consumer = build("apply").consumer
    tp = TP(TOPIC, 0)
    consumer._active_partitions = {tp}

    consumer.on_buffer_full(tp)

    assert consumer._get_active_partitions() == {tp}
    assert "app.consumer.on_buffer_full" in inspect.getsource(conductor)
    driver.Consumer.on_buffer_full(consumer, tp)
    assert consumer._get_active_partitions() == set()


def test_one_fetch_becomes_one_event_per_topic() -> None:
    """Its value is the fetched records; everything without a stamp goes Faust's own way."""
    ours = [
        FetchedRecords(TP(TOPIC, number), [Record(number, 5, b"k", b"v")], 1, 5)
        for number in (0, 1)
    ]
    changelog = TP("changelog", 0)
    foreign = [Record(0, 1, b"k", b"v"), Record(0, 2, b"k", b"v")]
    fetched: dict[TP, Any] = {one.tp: one for one in ours} | {changelog: foreign}

    scheduler: Any = faust_app.OneEventPerFetch
    events = list(scheduler().iterate(fetched))

    assert [(tp.topic, event.offset) for tp, event in events] == [
        (TOPIC, 5),
        ("changelog", 1),
        ("changelog", 2),
    ]
    assert events[0][1].value == ours


async def test_an_app_closes_when_its_timers_have_ended(build: Callable[[str], Any]) -> None:
    """A timer at work ends first, and none begins: they use the same connections."""
    app = build("apply")
    seen: list[str] = []
    at_work = asyncio.Event()

    async def work() -> None:
        seen.append("works")
        at_work.set()
        await asyncio.sleep(0.1)
        seen.append("worked")

    async def close() -> None:
        seen.append("closes")
        await asyncio.sleep(0.1)
        seen.append("closed")

    app._closers.clear()  # those of the role have nothing to close
    app.on_close(close)
    working = asyncio.ensure_future(app.timer(0.01)(work)())
    await at_work.wait()

    await app.stop()
    await working

    assert seen[-4:] == ["works", "worked", "closes", "closed"]
