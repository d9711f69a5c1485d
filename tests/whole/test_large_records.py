"""Records that only compression makes small, beside ordinary commands, through a real worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.storage.commit.write_set import dead_letter_id
from execstream.streams.topics import COMMANDS
from tests.comparing import assert_equal, reference_of
from tests.large_records import MIB, put_squeezed
from tests.memory import peak_memory
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, installation

PATIENCE = 30.0  # seconds
GROWTH = 200  # MiB


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as own:
        yield own


def everywhere() -> list[Orders]:
    """Runs of their own, one on each partition."""
    found: dict[int, Orders] = {}
    while len(found) < COMMANDS.partitions:
        orders = Orders()
        found.setdefault(Installation.partition_of(orders.start()), orders)
    return [found[partition] for partition in sorted(found)]


async def test_a_gigabyte_in_a_record_harms_nobody(place: Installation, tmp_path: Path) -> None:
    """A record of 1,100 MiB, 35 kB of zstd, is a dead letter without its value; so is one among
    others in a batch, and the records behind the first GiB of a batch are one. Commands on all
    partitions are applied meanwhile, and the worker neither grows nor begins anew."""
    runs = everywhere()
    key = runs[1].run_id.encode()
    start = runs[1].start()
    assert start.value is not None
    async with place.worker() as worker:
        await place.put([orders.create() for orders in runs])
        await place.drained()
        begun = peak_memory(worker.process.pid)

        [alone] = await put_squeezed(place, 1, [(key, 1100 * MIB)])
        await place.put([orders.start() for orders in runs if orders is not runs[1]])
        mates = await put_squeezed(
            place,
            1,
            [
                *((key, 900 * MIB), (key, start.value), (key, 200 * MIB)),
                *((key, b"behind"), (key, b"further behind")),
            ],
        )
        await place.put([orders.give("n") for orders in runs])
        async with asyncio.timeout(PATIENCE):
            await place.drained()

        assert peak_memory(worker.process.pid) - begun < GROWTH
        assert len(worker.said("owns")) == len({one["topic"] for one in worker.said("owns")})
        assert worker.said("retry") == []
        await assert_equal(place, await reference_of(place))
    rows = await place.db.fetch(
        'select id::text, "offset", key, value, reason, detail from dead_letter order by "offset"'
    )
    details = [json.loads(row["detail"]) for row in rows]
    assert all(detail.pop("message") for detail in details)
    assert [
        (row["offset"], row["reason"], detail) for row, detail in zip(rows, details, strict=True)
    ] == [
        (alone[1], "too_large", {"bytes": 1100 * MIB, "limit": 8 * MIB}),
        (mates[0][1], "too_large", {"bytes": 900 * MIB, "limit": 8 * MIB}),
        (mates[2][1], "too_large", {"bytes": 200 * MIB, "limit": 8 * MIB}),
        (
            mates[4][1],
            "batch_too_large",
            {"limit": 1024 * MIB, "first_offset": mates[3][1], "last_offset": mates[4][1]},
        ),
    ]
    assert [row["key"] for row in rows] == [key, key, key, None]
    assert [row["value"] for row in rows] == [None] * 4
    letters = [dict(one.headers) | {"value": one.value} for one in await place.dead_letters()]
    assert [letter["value"] for letter in letters] == [None] * 4
    assert {letter["dlq.omitted"] for letter in letters} == {
        *(str(size * MIB).encode() for size in (1100, 900, 200)),
        None,
    }
    counted = "select dead from consumer_offset where consumer = 'apply' and partition = 1"
    assert await place.db.fetchval(counted) == 5


async def test_records_behind_a_gigabyte_are_redriven(place: Installation, tmp_path: Path) -> None:
    """They are read again from the topic, and each has an outcome; one that is too large by itself
    stays dead."""
    orders = everywhere()[1]
    key, start = orders.run_id.encode(), orders.start()
    assert start.value is not None
    program = Program(tmp_path, place.settings.environment())
    async with place.worker():
        await place.put([orders.create()])
        mates = await put_squeezed(
            place, 1, [(key, 1100 * MIB), (key, start.value), (key, 30 * MIB), (key, b"behind")]
        )
        await place.drained()
        letter = dead_letter_id(place.topic(COMMANDS.name), *mates[3])
        shown = await program("dlq", "redrive", letter, "--dry-run", "--json")
        redriven = await program("dlq", "redrive", letter, "--json")
        status = await place.db.fetchval("select status from graph_execution")

    span = f"the records at offsets {mates[1][1]} to {mates[3][1]}, read again from the topic"
    assert shown.json()["would_be"] == span
    told = [(line["outcome"], line["reason"]) for line in redriven.json_lines()]
    assert told == [("applied", None), ("dead", "too_large"), ("dead", "not_json")]
    assert {line["id"] for line in redriven.json_lines()} == {letter}
    assert status == "RUNNING"


async def test_it_is_shown_and_not_redriven(place: Installation, tmp_path: Path) -> None:
    """`dlq show` prints its size; `dlq redrive` refuses it by id and leaves it out otherwise."""
    orders = Orders()
    bad = orders.raw(b"bad")
    program = Program(tmp_path, place.settings.environment())
    async with place.worker():
        [at] = await put_squeezed(place, 1, [(b"key", 1100 * MIB)])
        await place.put([bad])
        await place.drained()
        letter = dead_letter_id(place.topic(COMMANDS.name), *at)

        shown = await program("dlq", "show", letter, "--json")
        named = await program("dlq", "redrive", letter)
        others = await program("dlq", "redrive", "--since", "1970-01-01T00:00:00Z", "--json")

    told = shown.json()
    assert (told["value"], told["detail"]["bytes"]) == (None, 1100 * MIB)
    assert told["would_be"] == "nothing, its value is not kept"
    assert named.code == 1
    assert "cannot be redriven" in named.err
    assert "1 are left out" in others.err
    assert [line["outcome"] for line in others.json_lines()] == ["dead"]


async def test_a_small_record_does_not_wait_for_large_ones(place: Installation) -> None:
    """Of three partitions with four records of 9 MiB each, at most one each is committed before the
    last command, on a fourth.
    """
    runs = everywhere()
    for partition in range(3):
        key = runs[partition].run_id.encode()
        await put_squeezed(place, partition, [(key, 9 * MIB)] * 4)
    await place.put([runs[3].create()])
    async with place.worker():
        await place.drained()

    before = await place.db.fetchval(
        """select count(*) from dead_letter
            where xmin::text::bigint < (select xmin::text::bigint from graph_execution)"""
    )
    assert before <= 3
