"""`execstream dlq` on real dead letters: looked at, changed, and put back once."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from execstream.cli import dlq
from execstream.kafka.producer import Producer
from execstream.recovery.redrive import Redriving
from execstream.storage.connections import connect
from execstream.storage.log.dead_letters import Filter, put_back
from execstream.streams.redriving import Letter
from execstream.streams.topics import COMMANDS
from tests.orders import Orders, encoded
from tests.whole.program import Program
from tests.worker import Installation, until

pytestmark = pytest.mark.usefixtures("worker")


async def buried(place: Installation, orders: Orders, *values: bytes) -> list[str]:
    """Ids of the dead letters that these values of a run that exists became, in their order."""
    await place.put([orders.create(), *map(orders.raw, values)])
    await place.drained()
    rows = await place.db.fetch(
        """select id::text from dead_letter where key = $1 order by partition, "offset" """,
        orders.run_id.encode(),
    )
    return [row["id"] for row in rows]


def wrong_move(orders: Orders, **fields: Any) -> bytes:
    """A command with a status that there is not, and numbers that no double holds."""
    return encoded(orders.command("graph.update", status="DONE", **fields))


async def test_a_letter_is_mended_and_redriven_once(program: Program, place: Installation) -> None:
    """With its field set it takes effect, everything else as it was sent; its record names its
    origin; a second time reports that it was done.
    """
    orders = Orders()
    value = wrong_move(orders)[:-1] + b',"stats":{"cost":12345678901234567890.125}}'
    [letter] = await buried(place, orders, value)

    done = await program("dlq", "redrive", letter, "--set", "status=RUNNING", "--json")

    assert done.code == 0, done.err
    receipt = done.json()
    assert (receipt["id"], receipt["outcome"]) == (letter, "applied")
    run = await place.db.fetchrow(
        "select status, stats ->> 'cost' as cost from graph_execution where id = $1", orders.run_id
    )
    assert tuple(run) == ("RUNNING", "12345678901234567890.125")
    [record] = [
        one
        for one in await place.commands()
        if (one.partition, one.offset) == (receipt["partition"], receipt["offset"])
    ]
    origin = await place.db.fetchrow(
        'select id::text, topic, partition::text, "offset"::text from dead_letter where id = $1',
        letter,
    )
    assert [value.decode() for _, value in record.headers] == list(origin)
    assert record.headers[0][0] == "redriven_from"

    again = await program("dlq", "redrive", letter, "--json")
    assert (again.code, again.out) == (0, "")
    assert f"{letter} was redriven at" in again.err
    twice = await program("dlq", "redrive", letter, "--set", "status=RUNNING", "--again", "--json")
    assert twice.json()["outcome"] == "duplicate"


async def test_one_that_fails_again(program: Program, place: Installation) -> None:
    """It is a new dead letter that names the first, and the exit code is 1."""
    [letter] = await buried(place, Orders(), b"no json")

    done = await program("dlq", "redrive", letter, "--json")

    assert (done.code, done.json()["outcome"], done.json()["reason"]) == (1, "dead", "not_json")
    shown = (await program("dlq", "show", done.json()["dead_letter_id"], "--json")).json()
    assert shown["redriven_from"] == letter
    assert (shown["value"], shown["would_be"]) == ("no json", "dead again, not_json")

    third = (await program("dlq", "redrive", shown["id"], "--json")).json()["dead_letter_id"]
    shown = (await program("dlq", "show", third, "--json")).json()
    assert shown["redriven_from"] == done.json()["dead_letter_id"]
    assert [name for name, _ in shown["headers"]].count("redriven_from") == 1


async def test_by_filter_in_order(program: Program, place: Installation) -> None:
    """All of a reason go, in the order of their records; refused ones are reported; a dry run and a
    wrong path change nothing.
    """
    orders = Orders()
    await buried(place, orders, *(wrong_move(orders, v=2) for _ in range(3)))
    moves = ("--reason", "unsupported_version", "--set", "v=1")

    dry = await program("dlq", "redrive", *moves, "--set", "status=RUNNING", "--dry-run", "--json")
    assert [one["would_be"] for one in dry.json_lines()] == ["graph.update"] * 3
    wrong = await program("dlq", "redrive", *moves, "--set", "status.x=1")
    assert (wrong.code, "status.x cannot be set" in wrong.err) == (1, True)
    assert not await place.db.fetchval(
        "select count(*) from dead_letter where reason = 'unsupported_version' and "
        "redriven_at is not null"
    )

    done = await program("dlq", "redrive", *moves, "--set", "status=RUNNING", "--json")

    assert done.code == 0, done.err
    assert [one["outcome"] for one in done.json_lines()] == ["applied", "refused", "refused"]
    assert done.json_lines()[1]["reason"] == "illegal_transition"


async def test_a_record_on_a_foreign_partition_goes_to_its_run(
    program: Program, place: Installation
) -> None:
    """Redriven as it is, one that came on a wrong partition reaches its run."""
    orders = Orders()
    created = orders.create()
    foreign = (place.partition_of(created) + 1) % 8
    await place.put([created])
    await place.drained()
    await place.put([orders.start()._replace(partition=foreign)])
    await place.drained()

    done = await program("dlq", "redrive", "--reason", "wrong_partition", "--json")

    assert done.json()["outcome"] == "applied", done.err
    assert done.json()["partition"] == place.partition_of(created)


async def test_an_editor_changes_the_value(place: Installation, tmp_path: Path) -> None:
    """The text left by the editor is redriven, under the key that it names."""
    orders, other = Orders(), Orders()
    [letter] = await buried(place, orders, b"[]")
    await place.put([other.create()])
    new = tmp_path / "new.json"
    new.write_bytes(other.start().value or b"")
    editing = Program(tmp_path, place.settings.environment() | {"EDITOR": f"cp {new}"})

    done = await editing("dlq", "redrive", letter, "--editor", "--json")

    assert done.json()["outcome"] == "applied", done.err
    assert done.json()["partition"] == place.partition_of(other.start())


async def test_a_record_without_its_key_gets_the_one_it_names(
    program: Program, place: Installation
) -> None:
    """Redriven unchanged, one without a key, or with another, reaches its run."""
    orders = Orders()
    await place.put([orders.create()])
    await place.drained()
    for key in (None, b"another"):
        await place.put([orders.start()._replace(key=key, partition=5)])
    await place.drained()

    done = await program("dlq", "redrive", "--reason", "key_mismatch", "--json")

    assert [one["outcome"] for one in done.json_lines()] == ["applied", "refused"], done.err
    assert {one["partition"] for one in done.json_lines()} == {place.partition_of(orders.start())}


async def test_those_redriven_before_do_not_count(
    place: Installation, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More letters than go at once are redriven by repeating the command."""
    orders = Orders()
    await buried(place, orders, *(encoded(orders.command("other.type")) for _ in range(3)))
    monkeypatch.setattr(dlq, "MOST", 2)
    wanted = Filter((), "unknown_type")
    first = await dlq._chosen(place.db, wanted, again=False)
    assert len(first) == 2
    assert (await program("dlq", "redrive", *first)).code == 1
    [*_, third] = await dlq._chosen(place.db, wanted, again=False)
    assert third not in first
    assert len(await dlq._chosen(place.db, wanted, again=True)) == 2


async def test_interrupted_with_a_receipt(program: Program, place: Installation) -> None:
    """At one letter in an hour the first goes and the second waits; Ctrl-C ends the wait, and the
    letters put back so far are reported all the same.
    """
    orders = Orders()
    letters = await buried(place, orders, *(b"nothing %d" % n for n in range(6)))
    arguments = ("dlq", "redrive", *letters, "--rate", f"{1 / 3600:f}", "--json")
    async with program.running(*arguments) as process:
        await until(lambda: _any_redriven(place.db, letters))
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    told = [json.loads(line)["id"] for line in out.splitlines()]
    done = await _redriven(place.db, letters)
    assert told == [letter for letter, is_done in zip(letters, done, strict=True) if is_done]
    assert len(told) == 1


async def test_what_was_put_when_kafka_fails(place: Installation) -> None:
    """Of a page that fails half way, the sent ones are known, and have their receipts."""
    topic = place.topic(COMMANDS.name)
    letters = await buried(place, Orders(), b"(", b")")

    class Failing(Producer):
        async def send(
            self, key: bytes | None, value: bytes | None, *others: Any
        ) -> tuple[int, int]:
            if value == b")":
                raise ConnectionError("not now")
            return await super().send(key, value, *others)

    producer = Failing(place.settings.kafka, topic)
    await producer.start()
    redriving = Redriving(place.db, producer, place.settings.kafka, topic, 1_000)
    try:
        with pytest.raises(ConnectionError):
            await redriving.put(letters, {}, again=False)
    finally:
        await producer.close()
    assert [put.id for put in redriving.done] == letters[:1]
    assert [(one.id, one.outcome) async for one in redriving.receipts()] == [(letters[0], "dead")]


@pytest.mark.slow
async def test_list_and_what_is_not_there(program: Program, place: Installation) -> None:
    """Newest first, by the filter; an unknown id and no id are reported in a sentence."""
    orders = Orders()
    letters = await buried(place, orders, b"1", b'"x"')
    listed = await program("dlq", "list", "--reason", "not_an_object", "--limit", "2", "--json")
    assert [one["id"] for one in listed.json_lines()] == letters[::-1]
    assert listed.json_lines()[0]["key"] == orders.run_id
    everything = await program("dlq", "list", "--limit", "1000", "--json")
    assert (letters[0] in everything.out, everything.err) == (True, "")
    less = await program("dlq", "list", "--reason", "not_an_object", "--limit", "1", "--json")
    assert [one["id"] for one in less.json_lines()] == letters[1:]
    assert less.err == "There are more: raise --limit.\n"
    not_json = await program("dlq", "redrive", letters[0], "--set", "a=1")
    assert (not_json.code, not_json.err.startswith(f"{letters[0]}: a cannot be set")) == (1, True)

    for arguments in (("list",), ("show", letters[1]), ("redrive", letters[1], "--dry-run")):
        told = await program("dlq", *arguments)
        assert (told.code, letters[1] in told.out) == (0, True), told.err
    done = await program("dlq", "redrive", letters[1])
    assert (done.code, "1 redriven: 1 dead." in done.out) == (1, True)

    unknown = await program("dlq", "redrive", str(uuid4()))
    assert (unknown.code, unknown.err.startswith("There is no dead letter")) == (1, True)
    nothing = await program("dlq", "redrive")
    assert (nothing.code, nothing.err.startswith("Name them")) == (1, True)


async def test_what_kafka_does_not_take_stays(place: Installation) -> None:
    """Of a page, the sent ones are marked and the others are not."""
    letters = await buried(place, Orders(), b"{", b"}")

    async def send(letter: Letter) -> tuple[int, int]:
        if letter.value == b"}":
            raise ConnectionError("not now")
        return 0, 0

    db = await connect(place.settings.postgres, place.settings.schema_)
    try:
        with pytest.raises(ConnectionError):
            await put_back(db, letters, send)
        assert await _redriven(place.db, letters) == [True, False]
    finally:
        await db.close()


async def test_two_who_redrive_the_same(place: Installation) -> None:
    """The second waits for the first, and then finds it done."""
    letters = await buried(place, Orders(), b"{{")
    db = await connect(place.settings.postgres, place.settings.schema_)
    others: list[asyncio.Task[list[Any]]] = []

    async def someone_waits() -> bool:
        return bool(
            await place.db.fetchval(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
                "and query like '%for update%' and application_name = 'execstream'"
            )
        )

    async def send(letter: Letter) -> tuple[int, int]:
        if not others:
            others.append(asyncio.create_task(put_back(db, letters, send)))
            await until(someone_waits)
        return 0, 0

    try:
        assert len(await put_back(db, letters, send)) == 1
        assert await others[0] == []
    finally:
        await db.close()


async def _any_redriven(db: asyncpg.Pool, letters: list[str]) -> bool:
    return any(await _redriven(db, letters))


async def _redriven(db: asyncpg.Pool, letters: list[str]) -> list[bool]:
    rows = await db.fetch(
        "select id::text, redriven_at is not null as is_so from dead_letter "
        "where id = any ($1::uuid[])",
        letters,
    )
    found = {row["id"]: row["is_so"] for row in rows}
    return [found[letter] for letter in letters]
