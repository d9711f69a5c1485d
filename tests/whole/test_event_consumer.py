"""`EventConsumer`: each event once, whatever is repeated, resumed, reassigned or gone."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from itertools import islice

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from execstream import (
    EventBatch,
    EventConsumer,
    EventPosition,
    EventsGone,
    PartitionReassigned,
    SyncEventConsumer,
)
from execstream.client.event_consumer import TopicMissing
from execstream.devstack import Addresses
from execstream.streams.errors import Unreachable
from execstream.streams.topics import EVENTS
from tests.orders import Orders
from tests.recovery.lived import simulated
from tests.worker import Installation, installation, until

COMMANDS = 600
QUIET = 2.0  # seconds without an event; all of them have been published before
PATIENCE = 120.0  # seconds
PARTITIONS = range(EVENTS.partitions)
Source = tuple[int, int, int]

_TABLES = """
create table stored_event (p int, o bigint, i int);
create table stored_position (p int primary key, place bigint[] not null);
insert into stored_position select p, '{0,-1,-1}' from generate_series(0, 7) p
"""
_EVENT = "insert into stored_event select * from unnest($1::int[], $2::bigint[], $3::int[])"
_MOVE = "update stored_position set place = $3 where p = $1 and place = $2"


@pytest.fixture
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Installation]:
    """An installation with published events of simulated runs, which the environment names."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as own:
        for name, value in own.settings.environment().items():
            monkeypatch.setenv(name, value)
        async with own.worker():
            writer = Orders(user_id="eve")
            await own.put([*simulated(COMMANDS), writer.keep("k", 1), writer.keep("k", 0)])
            await own.drained()
            await own.events()
        yield own


async def stored(place: Installation) -> list[Source]:
    """The sources of everything that has an event, sorted."""
    rows = await place.db.fetch(
        """select source_partition, source_offset, source_index from journal
           union all select source_partition, source_offset, 0 from refusal
           union all select source_partition, source_offset, 0 from kv_journal order by 1, 2, 3"""
    )
    return [tuple(row) for row in rows]


def sources(batches: Sequence[EventBatch]) -> list[Source]:
    return sorted(event.source for batch in batches for event in batch.events)


async def read_out(consumer: EventConsumer, most: int | None = None) -> list[EventBatch]:
    """Up to `most` batches, as long as there are events."""
    found: list[EventBatch] = []
    while len(found) != most and (batch := await consumer.next_batch(QUIET)) is not None:
        found.append(batch)
    return found


async def repeat(place: Installation, part: slice) -> int:
    """Publish a part of each partition again, as after a crash; return the number of records."""
    repeated = 0
    for number, records in (await place.events()).items():
        for record in records[part]:
            await place.producer.send(place.topic(EVENTS.name), record.value, partition=number)
            repeated += 1
    await place.producer.flush()
    return repeated


async def test_each_event_comes_once(place: Installation) -> None:
    """Stretches that appear again are dropped and counted, and so are records that are no events;
    batches join without a gap.
    """
    repeated = await repeat(place, slice(-40, None))
    await place.producer.send_and_wait(place.topic(EVENTS.name), b"no event", partition=3)
    async with EventConsumer(max_events=50) as consumer:
        batches = await read_out(consumer)

    assert sources(batches) == await stored(place)
    assert repeated
    assert consumer.receipt.repeats == repeated
    assert consumer.receipt.others == 1
    assert consumer.receipt.events == len(await stored(place))
    for number in PARTITIONS:
        own = [batch for batch in batches if batch.partition == number]
        assert [one.before for one in own[1:]] == [one.after for one in own[:-1]]
        assert all(len(one.events) <= 50 for one in own)


async def test_it_resumes_exactly(place: Installation) -> None:
    """From the position after any batch, also when the next record there is a repetition."""
    await repeat(place, slice(-40, -20))
    places: dict[int, Sequence[int]] = {}
    found: list[EventBatch] = []
    while True:
        async with EventConsumer(positions=places, max_events=37) as consumer:
            batches = await read_out(consumer, 11)
        found += batches
        places |= {batch.partition: [*batch.after] for batch in batches}
        if len(batches) < 11:
            break

    assert sources(found) == await stored(place)


async def test_a_group_resumes_from_its_commits(place: Installation) -> None:
    """With the source of the last event: what is repeated behind a commit does not come again."""
    group = f"g{secrets.token_hex(4)}"
    async with EventConsumer(group, max_events=10_000) as consumer:
        batches = await read_out(consumer)
        for batch in batches:
            await consumer.commit(batch)
    repeated = await repeat(place, slice(-25, None))
    async with EventConsumer(group) as consumer:
        again = await read_out(consumer)

    assert sources(batches) == await stored(place)
    assert again == []
    assert consumer.receipt == (repeated, 0, repeated)


@pytest.mark.slow
async def test_it_survives_rebalances(place: Installation) -> None:
    """Consumers that join and leave, each storing events and position in one transaction where the
    position is still the one before the batch: no event is missing or doubled, and none is fenced
    in an orderly rebalance.
    """
    await place.db.execute(_TABLES)
    group = f"g{secrets.token_hex(4)}"

    async def load(partitions: Collection[int]) -> dict[int, Sequence[int]]:
        rows = await place.db.fetch(
            "select p, place from stored_position where p = any ($1)", [*partitions]
        )
        return {row["p"]: row["place"] for row in rows}

    async def stay() -> None:
        async with EventConsumer(group, positions=load, max_events=20) as consumer:
            while True:
                fenced.append(not await _store(place.db, await anext(consumer)))

    async def visit(seed: int) -> None:
        visited = 0
        async with EventConsumer(group, positions=load, max_events=20) as consumer:
            while visited < 3:
                batch = await consumer.next_batch(1.0)
                if batch is None:  # the other one was faster
                    await place.put(simulated(80, seed + visited))
                else:
                    visits.append(not await _store(place.db, batch))
                visited += 1

    async def is_complete() -> bool:
        count = await place.db.fetchval("select count(*) from stored_event")
        return bool(count == len(await stored(place)))

    fenced: list[bool] = []
    visits: list[bool] = []
    async with place.worker():
        staying = asyncio.create_task(stay())
        for seed in (10, 20, 30, 40):
            await place.put(simulated(80, seed + 9))
            await asyncio.wait_for(visit(seed), PATIENCE)
        await place.drained()
        await until(is_complete)
    staying.cancel()
    with suppress(asyncio.CancelledError):
        await staying

    found = await place.db.fetch("select p, o, i from stored_event order by 1, 2, 3")
    assert [tuple(row) for row in found] == await stored(place)
    assert len(fenced) > 20
    assert visits
    assert not any(fenced + visits)


async def _store(db: asyncpg.Pool, batch: EventBatch) -> bool:
    """Store a batch unless another consumer did; return whether this one has."""
    async with db.acquire() as connection, connection.transaction():
        moved = await connection.execute(_MOVE, batch.partition, batch.before, batch.after)
        if moved == "UPDATE 1":
            columns = zip(*[event.source for event in batch.events], strict=True)
            await connection.execute(_EVENT, *map(list, columns))
            return True
        return False


@pytest.mark.slow
async def test_a_rebalance_waits_for_the_batch_in_hand(place: Installation) -> None:
    """The consumer that joins loads positions when the other one has stored its batch."""
    group, is_stored, has_loaded = f"g{secrets.token_hex(4)}", False, asyncio.Event()
    loaded: list[bool] = []

    async def load(_: Collection[int]) -> dict[int, Sequence[int]]:
        loaded.append(is_stored)
        has_loaded.set()
        return {}

    async def join() -> None:
        async with EventConsumer(group, positions=load) as consumer:
            await consumer.next_batch()

    async with EventConsumer(group, max_events=10) as consumer:
        assert await consumer.next_batch() is not None
        joining = asyncio.create_task(join())
        with suppress(TimeoutError):  # longer than a heartbeat takes to announce the rebalance
            await asyncio.wait_for(has_loaded.wait(), 8.0)
        is_stored = True
        await consumer.next_batch()
        await asyncio.wait_for(joining, PATIENCE)
    assert loaded[0]


async def test_a_batch_of_an_earlier_assignment_is_not_committed(place: Installation) -> None:
    """Its partition may be read elsewhere by now."""
    group = f"g{secrets.token_hex(4)}"
    async with EventConsumer(group, max_events=10) as consumer:
        batch = await consumer.next_batch()
        assert batch is not None
        async with EventConsumer(group):
            later = await consumer.next_batch()
            while later is None or later.generation == batch.generation:
                later = await consumer.next_batch()
            with pytest.raises(PartitionReassigned):
                await consumer.commit(batch)
            await consumer.commit(later)


async def test_events_that_are_gone_are_an_error(place: Installation) -> None:
    """A position that retention has passed, and one beyond the end; nothing is skipped silently."""
    topic = place.topic(EVENTS.name)
    [number, records] = max((await place.events()).items(), key=lambda item: len(item[1]))
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, number): RecordsToDelete(before_offset=5)}
        )
    finally:
        await admin.close()

    for wanted in (EventPosition(3), EventPosition(len(records) + 9)):
        with pytest.raises(EventsGone) as gone:
            async with EventConsumer(positions={number: wanted}):
                pass
        assert (gone.value.partition, gone.value.wanted) == (number, wanted.next_offset)
        assert (gone.value.begin, gone.value.end) == (5, len(records))


async def test_an_error_of_the_callers_store_comes_out(place: Installation) -> None:
    """The client would log it and read on from somewhere."""

    async def fail(_: Collection[int]) -> dict[int, Sequence[int]]:
        raise LookupError("no table")

    async with EventConsumer(f"g{secrets.token_hex(4)}", positions=fail) as consumer:
        with pytest.raises(LookupError, match="no table"):
            await asyncio.wait_for(consumer.next_batch(), PATIENCE)


async def test_it_waits_for_events(place: Installation) -> None:
    """Until there are some, or for so long as the caller says."""
    async with EventConsumer() as consumer:
        await read_out(consumer)
        assert await consumer.next_batch(0.2) is None
        waiting = asyncio.create_task(anext(consumer))
        async with place.worker():
            orders = Orders()
            await place.put([orders.create(orders.node("a"))])
            batch = await asyncio.wait_for(waiting, PATIENCE)
    assert batch.events[0].type == "graph.created"


def _read_in_thread(group: str) -> tuple[list[Source], int]:
    with SyncEventConsumer(group, positions=lambda _: {}, max_events=100) as consumer:
        first = [*islice(consumer, 3)]
        consumer.commit(first[-1])
        while (batch := consumer.next_batch(QUIET)) is not None:
            first.append(batch)
        return sources(first), consumer.receipt.others


async def test_threads_have_the_same(place: Installation) -> None:
    """The synchronous consumer, used in a thread without an event loop."""
    found = await asyncio.to_thread(_read_in_thread, f"g{secrets.token_hex(4)}")
    assert found == (await stored(place), 0)


async def test_missing_servers_and_topics_are_named(
    stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer neither waits for a topic that is not there nor lets the broker create it."""
    monkeypatch.setenv("EXECSTREAM_TOPIC_PREFIX", "nowhere.")
    with pytest.raises(TopicMissing, match=r"nowhere\.execution"):
        async with EventConsumer(kafka_bootstrap=stack.kafka_bootstrap):
            pass
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        async with EventConsumer(kafka_bootstrap="127.0.0.1:1"):
            pass
