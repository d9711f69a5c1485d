"""Forgetting a person, beside workers that know them."""

import pytest

from execstream.kafka.producer import Producer
from execstream.recovery import redrive
from execstream.recovery.forget import forget
from execstream.storage.schema.tables import TABLES
from execstream.streams.topics import COMMANDS
from tests.agents.faulty import break_run, mend
from tests.agents.tallied import counted
from tests.orders import Order, Orders
from tests.recovery.lived import tallying
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

SECRET = "something-personal"  # noqa: S105 - to be forgotten


def _traces(user_id: str) -> list[Order]:
    """Whatever a person can leave behind: two runs, one of them deleted, a key-value, a refusal and
    a dead letter."""
    run, deleted = Orders(user_id=user_id), Orders(user_id=user_id)
    return [
        run.create(run.node("n", inputs={"a": SECRET}), inputs={"b": SECRET}),
        run.start(),
        run.emit("n", data=SECRET),
        run.keep(data=SECRET),
        run.move("REVIEW", stats={"error": SECRET}),
        run.move_step("unknown", "RUNNING"),
        run.raw(f'{{"type": "{SECRET}"'.encode()),
        deleted.create(deleted.node("n", inputs={"a": SECRET})),
        deleted.order("graph.delete"),
    ]


# Bytes are hexadecimal in the text of a row.
_FOUND = """
select count(*) from {} t
 where position($1 in t::text) > 0 or position(encode(convert_to($1, 'UTF8'), 'hex') in t::text) > 0
"""


async def _found(place: Installation, text: str) -> dict[str, int]:
    """Rows that have `text` in them, by table, where there are any."""
    found = {
        table.name: await place.db.fetchval(_FOUND.format(table.name), text) for table in TABLES
    }
    return {table: count for table, count in found.items() if count}


async def test_everything_of_a_person_goes(place: Installation, program: Program) -> None:
    """Their rows are in no table any more, the rows of others are unchanged, and the receipt lists
    the acts and the rest.
    """
    await place.put(_traces("olga") + _traces("eve"))
    await place.drained()
    before = await _found(place, "eve")
    with_both = await _found(place, SECRET)
    seen = (await program("forget", "--user", "olga", "--dry-run", "--json")).json()
    assert seen.pop("user") == "olga"
    assert list(seen.values()) == [2, 0, 1, 1, 1, 0]
    assert await _found(place, SECRET) == with_both

    told = await program("forget", "--user", "olga", "--yes", "--json")

    assert (told.code, told.json()["erased"], told.json()["not_erased"]) == (0, 2, {})
    assert told.json()["rows_left"] == 2
    assert told.json()["deleted"]["dead_letters"] == 1
    assert await _found(place, "olga") == {"graph_execution": 2}
    assert await _found(place, "eve") == before
    assert await _found(place, SECRET) == {table: n // 2 for table, n in with_both.items()}
    again = await program("forget", "--user", "olga", "--yes", "--json")
    assert (again.json()["erased"], again.json()["rows_left"]) == (0, 2)


async def test_counted_errors_of_a_person_go(place: Installation, program: Program) -> None:
    """Their failures, which were counted by run, go with the runs; what names neither them nor
    their runs but as a sample stays.
    """
    run, other = Orders(user_id="mia"), Orders(user_id="eve")
    async with tallying(place):
        for orders in (run, other):
            await place.put([orders.create(orders.node("n")), orders.start()])
            await place.put([orders.move_step("n", "RUNNING"), orders.move_step("n", "FAILED")])
        await place.drained()
        await counted(place)
        before = await _found(place, run.run_id)

        told = await program("forget", "--user", "mia", "--yes", "--json")
        await counted(place)

    assert (told.code, told.json()["erased"]) == (0, 1), told.err
    assert {"run_error", "node_execution"} <= before.keys()
    left = await _found(place, run.run_id)
    assert left.keys() <= {"graph_execution", "journal", "block_error"}
    assert (await _found(place, "mia")).keys() == {"graph_execution"}
    assert (await _found(place, other.run_id))["run_error"] == 1


def _canaries(run: Orders, canary: str) -> list[Order]:
    """A life with `canary` in every field that takes text or JSON, but for the ids of graphs, nodes
    and blocks, which totals of all users keep, and of presets.
    """
    values = {canary: [canary, {canary: canary}]}
    node = run.node("n", inputs=values)
    return [
        run.create(
            node,
            inputs=values,
            credential_inputs=values,
            nodes_input_masks={canary: values},
            attributes={canary: canary},
            reply_to=canary,
        ),
        run.start(reply_to=canary),
        run.give("m", pin=canary, data=values),
        run.move_step("n", "RUNNING", execution_data=values),
        run.emit("n", pin=canary, data=values),
        run.move_step("n", "FAILED", stats={"error": canary, canary: values}),
        run.move("FAILED", stats={"error": canary, canary: values}),
        run.order("graph.share", is_shared=True, share_token_hash="0" * 64),
        run.keep(key=canary, data=values),
        run.move_step("unknown", "RUNNING", reply_to=canary),
        run.raw(f'{{"user_id": "{run.user_id}", "type": "{canary}"}}'.encode()),
    ]


async def test_no_field_of_a_person_is_left(place: Installation, program: Program) -> None:
    """A canary in every field of every command is in no table any more, but for the masked text of
    an error, which is without its author."""
    run, canary = Orders(user_id="una"), "canary-7f3a"
    async with tallying(place):
        await place.put(_canaries(run, canary))
        await place.drained()
        await counted(place)
        before = await _found(place, canary)

        told = await program("forget", "--user", "una", "--yes", "--json")
        await counted(place)

    assert told.code == 0, told.err
    stored = {"graph_execution", "node_execution", "journal", "kv_data", "dead_letter"}
    assert before.keys() >= stored
    assert (await _found(place, canary)).keys() <= {"block_error"}
    assert (await _found(place, "una")).keys() == {"graph_execution"}


async def test_alerts_about_a_person_go(place: Installation, program: Program) -> None:
    """Those about their runs and their days, with the messages, and ends of runs; others stay."""
    run, other = Orders(user_id="ida"), Orders(user_id="eve")
    await place.put([run.create(), other.create()])
    await place.drained()
    for subject, run_id, figures in (
        ("of a run", run.run_id, "{}"),
        ("of a day", None, '{"user_id": "ida"}'),
        ("of another", other.run_id, '{"user_id": "eve"}'),
    ):
        await place.db.execute(
            """with raised as (
                   insert into alert (subject, kind, severity, graph_exec_id, figures)
                   values ($1, 'budget', 'warning', $2::text::uuid, $3::text::jsonb) returning id)
               insert into alert_message (alert_id, type, alert)
               select id, 'opened', '{}' from raised""",
            *(subject, run_id, figures),
        )
    await place.db.execute(
        """insert into run_message
               (graph_exec_id, seq, status, graph_id, user_id, dry_run, ended_at)
           select id, 1, 'FAILED', graph_id, user_id, false, now() from graph_execution
            where user_id in ('ida', 'eve')"""
    )

    told = await program("forget", "--user", "ida", "--yes", "--json")

    assert told.code == 0, told.err
    left = "select subject from alert join alert_message m on m.alert_id = alert.id"
    assert [row["subject"] for row in await place.db.fetch(left)] == ["of another"]
    ends = await place.db.fetch("select distinct user_id from run_message")
    assert [row["user_id"] for row in ends] == ["eve"]


async def test_runs_of_a_foreign_partitioner_go(place: Installation, program: Program) -> None:
    """A run on another partition than that of its key is erased there."""
    run = Orders(user_id="zoe")
    created = run.create(inputs={"b": SECRET})
    foreign = (place.partition_of(created) + 3) % 8
    await place.put([created._replace(partition=foreign)])
    await place.drained()

    told = await program("forget", "--user", "zoe", "--yes", "--json")

    assert (told.code, told.json()["erased"], told.json()["not_erased"]) == (0, 1, {}), told.err
    assert await _found(place, "zoe") == {"graph_execution": 1}


async def test_dead_letters_are_whose_they_are(place: Installation, program: Program) -> None:
    """Letters that another user signed stay, even with the user's id as a word in them; unreadable
    ones go when they have the id in them, also with escapes.
    """
    other = Orders(user_id="other")
    values = {
        "stays": b'{"user_id": "other", "messages": [{"role": "system"}]}',
        "unsigned": b'{"messages": [{"role": "system"}]}',
        "unreadable": b'{"user_id": "system", ',
        "escaped": b'{"user_id": "syst\\u0065m"}',
        "another word": b'{"user_id": "systems", ',
    }
    await place.put(other.raw(value) for value in values.values())
    await place.drained()

    told = await program("forget", "--user", "system", "--yes", "--json")

    assert told.json()["deleted"]["dead_letters"] == 3
    left = await place.db.fetch(
        "select value from dead_letter where key = $1", other.run_id.encode()
    )
    assert {row["value"] for row in left} == {values["stays"], values["another word"]}


async def test_a_receipt_when_nobody_answers(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of which nothing was heard are named, and those that were not tried; the rest goes."""
    monkeypatch.setattr(forget, "AT_ONCE", 1)
    monkeypatch.setattr(redrive, "PATIENCE", 0.2)
    runs = [Orders(user_id="kim") for _ in range(3)]
    await place.put([*(run.create() for run in runs), runs[0].keep(data=SECRET)])
    await place.drained()
    topic = place.topic(COMMANDS.name)
    producer = Producer(place.settings.kafka, topic)
    await producer.start()
    try:
        receipt = await forget.forget(
            place.db, producer, f"{topic}.that.nobody.reads", "kim", lambda *_: None
        )
    finally:
        await producer.close()
    assert (receipt.erased, receipt.deleted["key_values"]) == (0, 1)
    assert sorted(receipt.not_erased) == sorted(run.run_id for run in runs)
    assert sorted(receipt.not_erased.values()) == [
        "not tried",
        "not tried",
        "nothing was heard of it: do the workers run?",
    ]


async def test_nobody_is_forgotten_by_mistake(place: Installation, program: Program) -> None:
    """Without a terminal, only --yes erases."""
    await place.put(_traces("bob"))
    await place.drained()
    before = await _found(place, "bob")
    told = await program("forget", "--user", "bob")
    assert told.code == 1
    assert "pass --yes" in told.err
    assert await _found(place, "bob") == before


async def test_records_in_quarantine_come_first(place: Installation, program: Program) -> None:
    """No user is forgotten while records about them wait; of a released one the position stays."""
    orders = Orders(user_id="quinn")
    await break_run(place.db, orders.run_id)
    await place.put([orders.create()])
    await place.drained()

    refused = await program("forget", "--user", "quinn", "--yes")
    await mend(place.db)
    skipped = await program("quarantine", "skip", orders.run_id)
    done = await program("forget", "--user", "quinn", "--yes", "--json")

    assert (refused.code, "quinn wait in quarantine (1)" in refused.err) == (1, True)
    assert (skipped.code, done.code) == (0, 0), done.err
    row = await place.db.fetchrow("select user_id, value, headers::text from quarantine")
    assert tuple(row) == (None, None, "[]")
    assert (
        await place.db.fetchval(
            "select count(*) from dead_letter where key = $1", orders.run_id.encode()
        )
        == 0
    )
