"""Every committed event is published, in order: by the publisher, and by the next owner of a
partition.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from execstream.agents.apply import republisher as module
from execstream.agents.apply.publisher import OutboundRecord, OutboundRecords, Publisher
from execstream.agents.apply.republisher import Republisher
from execstream.agents.runtime import retries
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.agents.runtime.phase_timer import Phases
from execstream.devstack import Addresses
from execstream.kafka.last_records import last_values
from execstream.kafka.worker_producer import MAX_BATCH
from execstream.storage.connections import Session
from execstream.streams.topics import DEAD_LETTERS, EVENTS
from execstream.workload.reference import read_event
from tests.agents.applying import NOON, TOPIC, Desk, desk_at
from tests.comparing import assert_events_equal
from tests.orders import Order, Orders
from tests.worker import PATIENCE, Installation, installation

PARTITIONS = 2


@pytest.fixture
async def place(stack: Addresses, tmp_path: Any) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as own:
        yield own


@pytest.fixture
async def table(place: Installation) -> AsyncIterator[Desk]:
    """A worker with events that are committed and not published."""
    async with desk_at(place.db, place.settings) as own:
        await own.claim(*range(PARTITIONS))
        yield own


class Failing(Publisher):
    """Has no broker at every third call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls = 0

    async def publish(self, outbound: Sequence[OutboundRecords]) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            raise KafkaConnectionError
        await super().publish(outbound)


def publisher(place: Installation, kind: type[Publisher] = Publisher) -> Publisher:
    events, dead_letters = place.topic(EVENTS.name), place.topic(DEAD_LETTERS.name)
    return kind(place.settings.kafka, events, dead_letters, Phases())


async def republish(
    place: Installation, table: Desk, kind: type[Publisher] = Publisher
) -> Publisher:
    """The first step of a new owner of all partitions."""
    await table.claim(*range(PARTITIONS))
    session, speaker = (
        Session(place.settings.postgres, place.settings.schema_),
        publisher(place, kind),
    )
    republisher = Republisher(place.settings.kafka, place.topic(EVENTS.name), session, speaker)
    try:
        await republisher.republish(list(table.owned.values()), None)
    finally:
        await session.close()
        await speaker.close()
    return speaker


def history(orders: Orders, partition: int) -> list[Order]:
    """Everything that can happen to a run, but for its erasure."""
    some = [
        orders.create(orders.node("a", inputs={"in": 1}), inputs={"x": 1}, dry_run=True),
        orders.give("b", data={"deep": [1e300, None]}),
        orders.start(),
        orders.start(),
        orders.keep(user_id=orders.run_id, data=None),
        orders.move_step("a", "RUNNING", stats={"cost": 1.50}),
        orders.move_steps(["a", "b", "c"], "TERMINATED", stats={}),
        orders.raw(b"bad")._replace(headers=[("name", None)]),
        orders.move_steps(["a", "b"], "RUNNING"),
        orders.emit("a", data=None),
        orders.order("graph.share", is_shared=True, share_token_hash="ab" * 32),
        orders.keep(user_id=orders.run_id, at="2020-01-01T00:00:00Z"),
        orders.move("REVIEW"),
        orders.order("graph.update", status="RUNNING", stats={"a": "\u0000b"}),
        orders.move("COMPLETED", stats={"cost": 2}),
        orders.order("graph.delete"),
        orders.start(),
        orders.raw(None),
    ]
    return [one._replace(partition=partition) for one in some]


async def commit_some(table: Desk, runs: int = 6) -> None:
    made = [history(Orders(), number % PARTITIONS) for number in range(runs)]
    for orders in zip(*made, strict=True):
        await table.apply(*orders)


async def assert_all_is_said(place: Installation, table: Desk) -> None:
    """Assert that the topics have the events of the reference, without gaps."""
    published = {number: [r.value for r in rs] for number, rs in (await place.events()).items()}
    assert_events_equal(published, table.reference.events())
    letters = {
        (int(headers["dlq.original.partition"]), int(headers["dlq.original.offset"]))
        for headers in (dict(letter.headers) for letter in await place.dead_letters())
    }
    expected = {(one["partition"], one["offset"]) for one in table.reference.dead_letters}
    assert letters == expected


async def test_what_was_never_said_is_said(place: Installation, table: Desk) -> None:
    """The events equal those that the worker itself would have published, from the tables alone."""
    await commit_some(table)

    await republish(place, table)

    await assert_all_is_said(place, table)
    count = sum(map(len, (await place.events()).values()))
    assert count == sum(map(len, table.reference.events().values()))
    again = {n: [read_event(r.value) for r in rs] for n, rs in (await place.events()).items()}
    live = {n: list(map(read_event, values)) for n, values in table.said.events.items()}
    assert again == live


async def test_what_was_said_is_not_said_again(place: Installation, table: Desk) -> None:
    """The last event on the topic counts, however old the stored position is."""
    await commit_some(table, 2)
    await republish(place, table)
    await commit_some(table, 2)

    await republish(place, table)
    await republish(place, table)

    await assert_all_is_said(place, table)
    count = sum(map(len, (await place.events()).values()))
    assert count == sum(map(len, table.reference.events().values()))


async def test_a_send_that_fails_is_left_to_the_next_owner(
    place: Installation, table: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same producer would fail forever. Each owner publishes two pages of few events and fails
    at the third: nothing is left out or overtaken.
    """
    monkeypatch.setattr("execstream.storage.log.events.PAGE", 7)
    await commit_some(table)
    failed = 0

    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await republish(place, table, Failing)
                break
            except KafkaConnectionError:
                failed += 1

    assert failed > 5
    await assert_all_is_said(place, table)


async def test_reads_that_fail_are_tried_again(
    place: Installation, table: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third read fails: earlier events are not published again."""
    monkeypatch.setattr("execstream.storage.log.events.PAGE", 7)
    monkeypatch.setattr(retries, "pauses", lambda: itertools.repeat(0))
    await commit_some(table)
    for name in ("last_values", "dead_letters_after", "events_after"):
        monkeypatch.setattr(module, name, every_third_fails(getattr(module, name)))

    await republish(place, table)

    await assert_all_is_said(place, table)
    count = sum(map(len, (await place.events()).values()))
    assert count == sum(map(len, table.reference.events().values()))


def every_third_fails(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    calls = itertools.count(1)

    async def read_or_fail(*args: Any) -> Any:
        if next(calls) % 3 == 0:
            raise ConnectionResetError
        return await read(*args)

    return read_or_fail


_FOREIGN = b'{"type":"x","at":"2026-03-01T00:00:00Z","command_id":"x","source":[7,99999,0]}'


@pytest.mark.parametrize("value", [None, b"\xff", b"[]", b"[" * 100_000, _FOREIGN])
async def test_a_foreign_record_at_the_end_stops_nobody(
    place: Installation, table: Desk, value: bytes | None
) -> None:
    """Another program wrote into the topic: missing events are published all the same."""
    await commit_some(table, 2)
    await republish(place, table)
    events = place.topic(EVENTS.name)
    for number in range(PARTITIONS):
        await place.producer.send_and_wait(events, value, b"key", partition=number)
    await commit_some(table, 2)

    await republish(place, table)

    ends = await place._ends(EVENTS.name)
    records = await place._read(
        EVENTS.name,
        lambda seen: (
            all(seen[n].offset + 1 >= ends[n] for n in range(PARTITIONS) if n in seen)
            and len(seen) == PARTITIONS
        ),
    )
    found = {
        number: [one.value for one in records if one.partition == number and one.value != value]
        for number in range(PARTITIONS)
    }
    assert_events_equal(found, table.reference.events())


async def test_the_end_may_be_a_marker(place: Installation) -> None:
    """A marker of a transaction is not a record: then the last event is unknown."""
    events = place.topic(EVENTS.name)
    async with (
        AIOKafkaProducer(
            bootstrap_servers=place.settings.kafka, transactional_id=events
        ) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(events, b"first", partition=0)
    await place.producer.send_and_wait(events, b"second", partition=1)

    async with asyncio.timeout(PATIENCE):
        found = await last_values(place.settings.kafka, events, range(3))

    assert found == {0: None, 1: b"second"}


async def test_the_position_follows_what_is_said(
    place: Installation, table: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever something is published, all that comes before it has been: also dead letters, which
    go to another topic."""
    monkeypatch.setattr("execstream.storage.log.events.PAGE", 5)
    await commit_some(table, 2)
    positions: list[tuple[int, int]] = []

    class Watching(Publisher):
        async def publish(self, outbound: Sequence[OutboundRecords]) -> None:
            for one in outbound:
                before = one.owned.published
                places = [
                    outbound_record.place for outbound_record in [*one.events, *one.dead_letters]
                ]
                await super().publish([one])
                assert before < min(places)
                assert one.owned.published == max(places)
                positions.append((one.owned.number, one.owned.published[0]))

    await republish(place, table, Watching)

    assert positions == sorted(positions)
    await assert_all_is_said(place, table)


async def test_an_emptied_topic_is_not_filled_again(place: Installation, table: Desk) -> None:
    """Retention took the published events: the stored position shows that they were published."""
    await commit_some(table)
    await place.db.execute(
        "update consumer_offset set published_offset = next_offset - 1, published_index = 1000"
    )

    await republish(place, table)

    assert await place._read(EVENTS.name, lambda _: True) == []


async def test_a_dead_letter_is_the_same_when_it_is_said_later(
    place: Installation, table: Desk
) -> None:
    """Byte for byte, with its headers, and where it was."""
    await commit_some(table, 1)
    await republish(place, table)

    by_value = {letter.value: letter for letter in await place.dead_letters()}

    assert set(by_value) == {b"bad", None}
    headers = dict(by_value[b"bad"].headers)
    assert headers.pop("dlq.detail")
    assert headers == {
        "dlq.original.topic": TOPIC.encode(),
        "dlq.original.partition": b"0",
        "dlq.original.offset": b"7",
        "dlq.original.timestamp": str(NOON).encode(),
        "dlq.original.key": by_value[b"bad"].key,
        "dlq.reason": b"not_json",
        "name": None,
    }


def owned(number: int) -> AssignedPartition:
    return AssignedPartition(TP(TOPIC, number), 1, 0, (-1, -1), 0, 0)


async def test_the_publisher_keeps_the_order(place: Installation) -> None:
    """Many batches added at once, larger together than Kafka's limit: they arrive per partition as
    they were added, and the position is that of the last.
    """
    speaker = publisher(place)
    parts = [owned(0), owned(1)]
    large = b"x" * (MAX_BATCH // 3)

    for offset in range(40):
        value = large if offset % 5 == 0 else b"small"
        outbound = [
            OutboundRecords(
                part, [OutboundRecord((offset, i), b"%d" % offset, value) for i in range(2)]
            )
            for part in parts
        ]
        await speaker.add(outbound, None)
    await speaker.close()

    records = await place._read(
        EVENTS.name, lambda seen: {0, 1} <= {n for n, r in seen.items() if r.offset == 79}
    )
    for number, some in itertools.groupby(records, key=lambda record: record.partition):
        assert [int(record.key) for record in some] == [n // 2 for n in range(80)], number
    assert [part.published for part in parts] == [(39, 1)] * 2


async def test_adding_waits_when_much_has_gathered(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few batches of many bytes: records that wait for publication never take much more than
    allowed.
    """
    monkeypatch.setattr("execstream.agents.apply.publisher.BACKLOG_BYTES", 100_000)
    speaker = publisher(place)
    part = owned(0)

    for offset in range(20):
        await speaker.add(
            [OutboundRecords(part, [OutboundRecord((offset, 0), b"key", b"x" * 40_000)])], None
        )
        assert speaker._bytes <= 140_000
    await speaker.close()

    assert part.published == (19, 0)
    assert speaker._bytes == 0


async def test_news_waits_for_the_republishing_before_it(place: Installation) -> None:
    """A later event never overtakes an earlier one, however long that takes."""
    speaker = publisher(place)
    await speaker.start()
    earlier = asyncio.get_running_loop().create_future()
    part = owned(0)
    await speaker.add([OutboundRecords(part, [OutboundRecord((1, 0), b"1", b"later")])], earlier)
    for index in range(5):
        await speaker.publish(
            [OutboundRecords(part, [OutboundRecord((0, index), b"0", b"earlier")])]
        )
    assert part.published == (0, 4)

    earlier.set_result(None)
    await speaker.close()

    records = await place._read(EVENTS.name, lambda seen: 0 in seen and seen[0].offset == 5)
    assert [record.value for record in records] == [*[b"earlier"] * 5, b"later"]


class Slow(Publisher):
    """Publishes nothing before `begin` is set; `calls` has what it was to publish, in order."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.begin = asyncio.Event()
        self.calls: list[str] = []

    async def publish(self, outbound: Sequence[OutboundRecords]) -> None:
        self.calls += [one.events[0].key.decode() for one in outbound if one.events[0].key]
        await self.begin.wait()


async def test_republishing_waits_for_what_the_same_process_publishes(
    place: Installation, table: Desk
) -> None:
    """An event of an earlier assignment that came between two republished ones would hide the
    second: the last event of the topic shows the next owner where publishing ended.
    """
    orders = Orders()
    await table.apply(orders.create()._replace(partition=0))
    [part] = [one for one in table.owned.values() if one.number == 0]
    slow = publisher(place, Slow)
    session = Session(place.settings.postgres, place.settings.schema_)
    assert isinstance(slow, Slow)
    republisher = Republisher(place.settings.kafka, place.topic(EVENTS.name), session, slow)
    earlier = OutboundRecords(part, [OutboundRecord((0, 0), b"earlier", b"{}")])
    later = OutboundRecords(part, [OutboundRecord((9, 0), b"later", b"{}")])

    await slow.add([earlier], None)
    republished = asyncio.ensure_future(republisher.republish([part], None))
    await slow.add([later], republished)
    await asyncio.wait([republished], timeout=1.0)
    assert slow.calls == ["earlier"]
    slow.begin.set()
    await republished
    await slow.drain()
    assert slow.calls == ["earlier", orders.run_id, "later"]
    await session.close()
