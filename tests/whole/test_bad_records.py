"""Bad records: each gets its reason, none harms its neighbours, and the worker lives on."""

import asyncio
import json
import re
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from execstream.storage.redis.channels import reply_channel
from execstream.streams.topics import COMMANDS
from execstream.workload.reference import read_json
from tests.comparing import assert_equal, reference_of
from tests.header_names import put_with_unreadable_headers
from tests.orders import Order, Orders
from tests.whole.bad_records import DEAD, Case
from tests.whole.understood_records import REFUSED, STRANGE
from tests.worker import PATIENCE, Installation, PartitionOffset, Worker

ALL = DEAD | REFUSED | STRANGE

_REASON = """
select reason from dead_letter where topic = $1 and partition = $2 and "offset" = $3
union all
select reason from refusal where source_partition = $2 and source_offset = $3
"""


async def reason(place: Installation, at: PartitionOffset) -> str:
    """The reason of the dead letter of the record at `at`."""
    found = await place.db.fetch(_REASON, place.topic(COMMANDS.name), *at)
    assert len(found) <= 1
    return str(found[0]["reason"]) if found else "applied"


async def assert_reasons(
    place: Installation, places: dict[str, PartitionOffset], cases: dict[str, Case] = ALL
) -> None:
    found = {name: await reason(place, at) for name, at in places.items()}
    assert found == {name: cases[name].expected for name in places}


async def _prepared(place: Installation) -> dict[str, Order]:
    """The record of each case, when its prerequisites are committed."""
    made = {name: case.make(Orders()) for name, case in ALL.items()}
    await place.put(order for orders in made.values() for order in orders[:-1])
    await place.drained()
    return {name: orders[-1] for name, orders in made.items()}


@pytest.mark.slow
async def test_alone(place: Installation, worker: Worker) -> None:
    """Each bad record, with nothing else in its batch, gets its reason."""
    places = {}
    for name, bad in (await _prepared(place)).items():
        (places[name],) = await place.put([bad])
        await place.drained()

    await assert_reasons(place, places)
    assert worker.is_alive


@pytest.mark.slow
@pytest.mark.promise
async def test_among_good_ones(place: Installation, worker: Worker) -> None:
    """In the middle of 100 good ones of its partition, all put at once: each bad record gets its
    reason; that nothing else changed is seen when everything is compared, below."""
    sent: list[Order] = []
    at: dict[str, int] = {}
    for name, bad in (await _prepared(place)).items():
        beside = Orders()
        around = [beside.create(beside.node("good")), *_good(beside, 99)]
        here = [one._replace(partition=place.partition_of(bad)) for one in around]
        at[name] = len(sent) + 50
        sent += [*here[:50], bad, *here[50:]]

    places = await place.put(sent)
    await place.drained()

    await assert_reasons(place, {name: places[index] for name, index in at.items()})
    assert worker.is_alive


def _good(orders: Orders, count: int) -> list[Order]:
    return [orders.emit("good", data=number) for number in range(count)]


async def test_only_bad_ones(place: Installation, worker: Worker) -> None:
    """A flood of nothing but dead letters is buried as fast as it comes."""
    bad = [Orders().raw(f"bad {number}".encode()) for number in range(3_000)]

    places = await place.put(bad)
    await place.drained()

    found = await place.db.fetch(
        "select partition, \"offset\", value from dead_letter where value like 'bad %'::bytea"
    )
    expected = {at: order.value for at, order in zip(places, bad, strict=True)}
    assert {(row["partition"], row["offset"]): row["value"] for row in found} == expected
    assert worker.is_alive


GARBAGE: list[tuple[str, bytes | None]] = [
    ("", b""),
    ("none", None),
    ("binary", bytes(range(256))),
    ("twice", b"1"),
    ("twice", b"2"),
    ("traceparent", b"not a traceparent"),
    ("\u0000\u202e\n", b"\x00"),
    ("dlq.reason", b"already there"),
    ("long", b"x" * 100_000),
]


async def test_headers_may_be_anything(place: Installation, worker: Worker) -> None:
    """A command with them is applied; a dead letter keeps them as they are."""
    orders = Orders()
    places = await place.put(
        [
            orders.create()._replace(headers=GARBAGE),
            orders.raw(b"bad")._replace(headers=GARBAGE),
        ]
    )
    await place.drained()

    assert [await reason(place, at) for at in places] == ["applied", "not_json"]
    letter = await letter_of(place, places[1])
    assert list(letter.headers[: len(GARBAGE)]) == GARBAGE
    assert worker.is_alive


@pytest.mark.parametrize(("size", "is_carried"), [(8 * 1024 - 10, True), (8 * 1024 - 9, False)])
async def test_a_trace_goes_through_unless_it_is_large(
    place: Installation, worker: Worker, size: int, is_carried: bool
) -> None:
    """Every event of a command carries it, so that it must not be of any size."""
    orders = Orders()
    headers = [("tracestate", b"x" * size), ("other", b"")]
    keep = orders.keep(user_id=orders.run_id, key=orders.run_id)
    await place.put(
        one._replace(headers=headers)
        for one in (orders.create(orders.node("n")), orders.create(), keep)
    )
    await place.drained()

    found = [
        record
        for records in (await place.events()).values()
        for record in records
        if record.key == orders.run_id.encode()
    ]
    assert len(found) == 4
    for record in found:
        assert list(record.headers) == (headers[:1] if is_carried else [])
    assert worker.is_alive


async def test_who_asks_is_told_of_dead_letters(place: Installation, worker: Worker) -> None:
    """Wherever the command's id and `reply_to` can be read."""
    told = {
        name: DEAD[name]
        for name in (
            *("version 2", "an unknown type", "an unknown status", "another run's key"),
            *("a foreign partition", "1e200000", "an output that is not storable"),
        )
    }
    made = {name: case.make(Orders()) for name, case in told.items()}
    asking = {name: _asking(orders[-1]) for name, orders in made.items()}
    await place.put(order for orders in made.values() for order in orders[:-1])
    await place.drained()
    async with (
        Redis.from_url(place.settings.redis) as redis,
        redis.pubsub() as messages,
    ):
        channel = reply_channel(place.settings.redis_prefix, "asker")
        await messages.subscribe(channel)
        await place.put(asking.values())
        replies: dict[str, tuple[str, str]] = {}
        async with asyncio.timeout(PATIENCE):
            while len(replies) < len(asking):
                message = await messages.get_message(timeout=1)
                if message and message["type"] == "message":
                    reply = json.loads(message["data"])
                    replies[reply["command_id"]] = (reply["outcome"], reply["reason"])

    ids = {
        name: re.findall(rb'"id": ?"([^"]*)"', order.value or b"")[0]
        for name, order in asking.items()
    }
    assert {name: replies[ids[name].decode()] for name in asking} == {
        name: ("dead", case.expected) for name, case in told.items()
    }
    assert worker.is_alive


def _asking(order: Order) -> Order:
    return order._replace(value=b'{"reply_to":"asker",' + (order.value or b"")[1:])


async def test_aborted_records_were_never_there(place: Installation, worker: Worker) -> None:
    """Only committed records of a producer with transactions are applied; the markers that it
    leaves in the topic are stepped over.
    """
    aborted, committed = Orders(), Orders()
    async with AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, transactional_id=committed.run_id
    ) as producer:
        plain, place.producer = place.producer, producer
        await producer.begin_transaction()
        lost = await place.put([aborted.create(), aborted.raw(b"bad")])
        await producer.abort_transaction()
        async with producer.transaction():
            kept = await place.put([committed.create(), committed.raw(b"bad")])
        place.producer = plain
    place.puts = [at for at in place.puts if at not in lost]
    # Something behind each marker.
    await place.put([aborted.raw(b"behind it"), committed.start()])
    await place.drained()

    assert [await reason(place, at) for at in kept] == ["applied", "not_json"]
    assert await reason(place, lost[1]) != "not_json"
    runs = await place.db.fetch(
        "select id from graph_execution where id in ($1, $2)", aborted.run_id, committed.run_id
    )
    assert [str(row["id"]) for row in runs] == [committed.run_id]
    assert worker.is_alive


async def test_header_names_may_be_anything(place: Installation, worker: Worker) -> None:
    """Also no UTF-8, which aiokafka neither writes nor reads by itself."""
    orders = Orders()
    places = await put_with_unreadable_headers(place, [orders.create(), orders.raw(b"not utf8")])
    await place.drained()

    assert [await reason(place, at) for at in places] == ["applied", "not_json"]
    assert worker.is_alive


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_may_be_compressed(
    place: Installation, worker: Worker, compression: str
) -> None:
    """In every way there is: which one is the producer's choice."""
    orders = Orders()
    async with AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, compression_type=compression
    ) as producer:
        plain, place.producer = place.producer, producer
        places = await place.put([orders.create(inputs={"a": "x" * 10_000}), orders.raw(b"bad")])
        place.producer = plain
    await place.drained()

    assert [await reason(place, at) for at in places] == ["applied", "not_json"]
    assert worker.is_alive


@pytest.mark.parametrize("timestamp", [-1, -(2**62), 0, 1])
async def test_a_record_may_be_of_any_time(
    place: Installation, worker: Worker, timestamp: int
) -> None:
    """Times come from commands; Kafka's, which a producer may set, is only kept of dead ones."""
    orders = Orders()
    some = [orders.create(), orders.raw(b"bad")]

    places = await place.put(one._replace(timestamp=timestamp) for one in some)
    await place.drained()

    assert [await reason(place, at) for at in places] == ["applied", "not_json"]
    assert worker.is_alive


async def letter_of(place: Installation, at: PartitionOffset) -> Any:
    """The record on the dead-letter topic of the record at `at`."""
    for letter in await place.dead_letters():
        if _origin(letter) == at:
            return letter
    raise LookupError(at)


def _origin(letter: Any) -> PartitionOffset:
    headers = dict(letter.headers)
    return int(headers["dlq.original.partition"]), int(headers["dlq.original.offset"])


@pytest.mark.slow
async def test_everything_is_as_the_reference_says(place: Installation, worker: Worker) -> None:
    """All rows, events and counts after all of the above, good ones and bad."""
    await assert_equal(place, await reference_of(place))
    assert worker.is_alive


async def test_dead_letters_are_kept_byte_for_byte(place: Installation, worker: Worker) -> None:
    """In the table and on the topic, each once: value, key and headers, where it was, and why."""
    rows = {
        (row["partition"], row["offset"]): row
        for row in await place.db.fetch("select * from dead_letter")
    }
    letters = await place.dead_letters()
    records = {(record.partition, record.offset): record for record in await place.commands()}

    assert len(letters) == len(rows)
    assert {_origin(letter) for letter in letters} == rows.keys()
    for letter in letters:
        at = _origin(letter)
        row, record = rows[at], records[at]
        assert letter.value == row["value"] == record.value
        assert row["key"] == record.key
        assert letter.key == (b"" if record.key is record.value is None else record.key)
        count = len(record.headers)
        assert letter.headers[:count] == record.headers
        assert dict(letter.headers[count:]) == {
            "dlq.original.topic": record.topic.encode(),
            "dlq.original.partition": str(record.partition).encode(),
            "dlq.original.offset": str(record.offset).encode(),
            "dlq.original.timestamp": str(record.timestamp).encode(),
            "dlq.original.key": record.key,
            "dlq.reason": row["reason"].encode(),
            "dlq.detail": dict(letter.headers)["dlq.detail"],
        }
        assert read_json(dict(letter.headers)["dlq.detail"]) == json.loads(row["detail"])
    assert worker.is_alive
