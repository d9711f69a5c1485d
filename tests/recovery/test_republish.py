"""`execstream replay --events`: events for consumers that lost theirs, on a topic and on Redis."""

import json
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from execstream.cli import replay_events as replaying
from execstream.devstack import Addresses
from execstream.recovery.republish.republish import Sink
from execstream.storage.log.events import StoredEvent
from execstream.streams.topics import EVENTS
from tests.agents.bridging import Listener
from tests.orders import Orders
from tests.recovery.lived import simulated
from tests.whole.program import Program
from tests.worker import Installation, installation, until

COMMANDS = 400
FAR = 10**6  # offsets
Source = tuple[int, int, int]


class Heard(NamedTuple):
    """An installation, and the payloads of all messages of its bridge."""

    place: Installation
    payloads: list[Any]


@pytest.fixture(scope="module")
async def heard(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heard]:
    """An installation with a bridge, through which commands of all kinds went."""
    async with (
        installation(stack, tmp_path_factory.mktemp("logs")) as own,
        own.worker(),
        _bridge(own),
        Redis.from_url(own.settings.redis) as redis,
        Listener(redis, own.settings.redis_prefix) as listener,
    ):
        writer = Orders(user_id="eve")
        await own.put([*simulated(COMMANDS), writer.keep("k", 1)])
        await own.drained()
        count = await own.db.fetchval("select count(*) from journal")
        yield Heard(own, await listener.hear(count))


@pytest.fixture
def place(heard: Heard) -> Installation:
    return heard.place


@asynccontextmanager
async def _bridge(place: Installation) -> AsyncIterator[None]:
    worker = await place.start_worker("bridge")

    async def owns() -> bool:
        assert worker.is_alive, worker.log()
        return bool(worker.said("owns"))

    await until(owns)
    yield
    await worker.stop()


@asynccontextmanager
async def topic(place: Installation, name: str, partitions: int = 8) -> AsyncIterator[str]:
    """A topic of a consumer that lost its events; it is deleted with the installation."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(place.topic(name), partitions, 1)])
        yield place.topic(name)
    finally:
        await admin.close()


async def records_of(place: Installation, name: str) -> list[ConsumerRecord]:
    """Everything on a topic of 8 partitions, by partition and offset."""
    partitions = [TopicPartition(name, number) for number in range(8)]
    reader = AIOKafkaConsumer(bootstrap_servers=place.settings.kafka)
    await reader.start()
    found: list[ConsumerRecord] = []
    try:
        reader.assign(partitions)
        await reader.seek_to_beginning(*partitions)
        count = sum((await reader.end_offsets(partitions)).values())
        while len(found) < count:
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += records
    finally:
        await reader.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


def decoded(records: list[ConsumerRecord]) -> list[tuple[int, bytes, Any]]:
    return [(one.partition, one.key, json.loads(one.value)) for one in records]


async def published(place: Installation) -> list[tuple[int, bytes, Any]]:
    """The events that the workers published."""
    by_partition = await place.events()
    return decoded([one for number in sorted(by_partition) for one in by_partition[number]])


async def test_on_a_topic(program: Program, place: Installation) -> None:
    """The events that were published come again, in the same partitions and order, marked as
    replayed; from offsets of commands on, only later ones.
    """
    expected = await published(place)
    async with topic(place, "lost") as name:
        done = await program("replay", "--events", "--to-topic", name, "--rate", "0", "--json")
        assert done.code == 0, done.err
        found = await records_of(place, name)
        assert decoded(found) == expected
        assert {tuple(one.headers) for one in found} == {(("replayed", b"true"),)}
        assert done.json() == {"events": len(expected)}

    offset = max(value["source"][1] for _, _, value in expected if value["source"][0] == 3) // 2
    begin = ",".join(f"{number}:{0 if number == 3 else 10**9}" for number in range(8))
    async with topic(place, "part") as name:
        done = await program(
            *("replay", "--events", "--to-topic", name, "--from", begin),
            *("--until", f"3:{offset}", "--json"),
        )
        assert done.code == 0, done.err
        wanted = [one for one in expected if one[0] == 3 and one[2]["source"][1] < offset]
        assert decoded(await records_of(place, name)) == wanted
        assert wanted


async def test_on_redis(program: Program, heard: Heard) -> None:
    """Every message of the bridge comes again, marked; from the middle of runs on, messages still
    have the whole state.
    """
    place, expected = heard.place, _by_seq(heard.payloads)
    middle = await place.db.fetchval(
        "select percentile_disc(0.5) within group (order by at) from journal"
    )
    late = await place.db.fetch(
        """select graph_exec_id::text as run, seq from journal j
            where exists (select from (
                select source_partition as p, min(source_offset) as first from (
                    select source_partition, source_offset from journal where at >= $1
                    union all
                    select source_partition, source_offset from refusal where at >= $1) x
                 group by 1) f where f.p = j.source_partition and j.source_offset >= f.first)""",
        middle,
    )
    assert 0 < len(late) < len(expected)
    async with (
        Redis.from_url(place.settings.redis) as redis,
        Listener(redis, place.settings.redis_prefix) as listener,
    ):
        whole = await program("replay", "--events", "--to-redis", "--rate", "0")
        assert whole.code == 0, whole.err
        assert _by_seq(await listener.hear(len(expected)), replayed=True) == expected

        part = await program(
            *("replay", "--events", "--to-redis", "--rate", "0", "--from", middle.isoformat())
        )
        assert part.code == 0, part.err
        again = _by_seq(await listener.hear(len(late)), replayed=True)
        assert again == {key: expected[key] for key in ((row["run"], row["seq"]) for row in late)}
        assert await listener.silence()


def _by_seq(payloads: list[Any], *, replayed: bool = False) -> dict[tuple[str, int], Any]:
    """Payloads by run and seq, without the mark, which all or none of them have."""
    found: dict[tuple[str, int], Any] = {}
    for one in payloads:
        payload = dict(one)
        assert payload.pop("replayed", False) is replayed
        found[payload.get("graph_exec_id") or payload["id"], payload["seq"]] = payload
    assert len(found) == len(payloads)
    return found


async def test_interrupted_and_gone_on(program: Program, place: Installation) -> None:
    """Ctrl-C prints the position to continue from; both together publish every event, in not less
    time than the rate allows.
    """
    expected = await published(place)
    async with topic(place, "cut") as name:
        to = ("replay", "--events", "--to-topic", name)
        async with program.running(*to, "--rate", "50") as process:

            async def has_begun() -> bool:
                return bool(await records_of(place, name))

            await until(has_begun)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 130
        found = re.search(r"Go on with --from (\S+)", err.decode())
        assert found, err
        first = len(await records_of(place, name))
        assert 0 < first < len(expected)

        assert (await program(*to, "--rate", "0", "--from", found[1])).code == 0

        both: dict[Source, Any] = {}
        for _, _, value in decoded(await records_of(place, name)):
            both.setdefault(tuple(value["source"]), value)
        assert both == {tuple(value["source"]): value for _, _, value in expected}


class Failing:
    """A topic that takes a few partitions."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def publish(self, partition: int, events: Sequence[StoredEvent]) -> None:
        if partition > 2:
            raise ConnectionError("not now")
        await self._sink.publish(partition, events)


async def test_an_error_in_a_topic_made_again(
    place: Installation,
    program: Program,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error, too, prints the position to continue from; and it is accepted in the topic of
    commands from before the recreation.
    """
    expected = await published(place)
    for name, value in program.variables.items():
        monkeypatch.setenv(name, value)
    opened = replaying._topic

    async def failing(*arguments: Any) -> Sink:
        return Failing(await opened(*arguments))

    monkeypatch.setattr(replaying, "_topic", failing)
    shift = """update consumer_offset set base = base + $1, next_offset = next_offset - $1
                where consumer = 'apply'"""
    await place.db.execute(shift, FAR)
    try:
        async with topic(place, "broken") as name:
            with pytest.raises(ConnectionError):
                await replaying.replay_events(
                    {}, {}, to_redis=False, to_topic=name, rate=0, json=True
                )
            found = re.search(r"Go on with --from (\S+)", capsys.readouterr().err)
            assert found
            assert f"3:-{FAR}," in found[1]
            first = decoded(await records_of(place, name))
            assert first == [one for one in expected if one[0] < 3]

            to = ("replay", "--events", "--to-topic", name, "--rate", "0")
            assert (await program(*to, "--from", found[1])).code == 0
            both = {tuple(one["source"]) for _, _, one in decoded(await records_of(place, name))}
            assert both == {tuple(one["source"]) for _, _, one in expected}
    finally:
        await place.db.execute(shift, -FAR)


async def test_where_events_are_not_told(program: Program, place: Installation) -> None:
    """Nowhere, on the topic that has them, or on one with fewer partitions: a sentence each."""
    nowhere = await program("replay", "--events")
    assert (nowhere.code, nowhere.err.startswith("Name where events go")) == (1, True)
    own = await program("replay", "--events", "--to-topic", place.topic(EVENTS.name))
    assert (own.code, "has events already" in own.err) == (1, True)
    async with topic(place, "small", 2) as name:
        small = await program("replay", "--events", "--to-topic", name)
    assert (small.code, "has 2 partitions" in small.err) == (1, True)
