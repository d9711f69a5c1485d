"""`verify`: silent about right rows, beside a load too; finds, names and mends wrong ones."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.recovery.forget.personal_data import delete_personal
from execstream.recovery.verify.report import MEND_ALL, REBUILD, Report
from execstream.recovery.verify.verify import Asked, NoSuchRun, verify
from execstream.storage.commit.write_set import dead_letter_id
from execstream.streams.topics import COMMANDS, EVENTS
from tests.agents.tallied import counted
from tests.orders import Orders
from tests.recovery.lived import erased, lived, simulated, untold
from tests.recovery.tampering import MENDED, TOLD_BY_TOPICS, tamper
from tests.whole.program import Program
from tests.worker import Installation

SIMULATED = 2_500  # commands
JOURNAL = "select * from journal order by graph_exec_id, seq"
FOLDED = [
    "select * from graph_execution order by id",
    "select * from kv_data order by user_id, key",
]


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation through which commands of all kinds went."""
    async with lived(stack, tmp_path_factory.mktemp("logs"), SIMULATED) as own:
        yield own


async def verified(place: Installation, *ids: str, repairing: bool = False) -> Report:
    """The report on the runs of `ids`, or on everything."""
    asked = Asked(ids)
    return await verify(place.settings, asked, untold, repairing=repairing)


async def assert_right(place: Installation) -> Report:
    report = await verified(place)
    assert report.differences == []
    return report


# ---- right rows ----------------------------------------------------------------------------


@pytest.mark.slow
async def test_what_workers_made_is_right(place: Installation) -> None:
    """After commands of all kinds nothing differs, and everything was looked at."""
    report = await assert_right(place)

    runs = await place.db.fetchval("select count(*) from graph_execution")
    entries = await place.db.fetchval("select count(*) from journal")
    assert (report.checked["runs"], report.checked["entries"]) == (runs, entries)
    assert report.checked["of_runs"] == runs
    assert report.checked["commands"]["compared"] == len(place.puts)
    assert report.checked["events"]["compared"] >= entries
    assert report.checked["block_stats"]["compared"] > 0
    assert report.left_out == []


async def test_named_runs(place: Installation) -> None:
    """Only named runs are checked, and missing ones are reported."""
    [run_id] = await place.db.fetchrow("select id::text from graph_execution limit 1")
    checked = (await verified(place, run_id)).checked
    assert checked["runs"] == 1 < checked["of_runs"]
    assert (await verified(place, run_id, run_id.upper())).checked["runs"] == 1
    for unknown in (str(uuid4()), "abc"):
        with pytest.raises(NoSuchRun):
            await verified(place, run_id, unknown)


async def test_no_false_alarm_beside_a_load(place: Installation) -> None:
    """While workers apply thousands of commands, verifications one after the other find nothing."""
    load = asyncio.create_task(place.put(simulated(3_000, seed=2)))
    for _ in range(3):
        await assert_right(place)
    await load
    await place.drained()


# ---- wrong rows ----------------------------------------------------------------------------


async def test_changed_cells_are_found_and_mended(place: Installation) -> None:
    """One cell of every column of runs, steps, key-values and totals, each in a row of its own, is
    named, and mended from the journal."""
    changes = [change for table in MENDED for change in await tamper(place.db, table)]

    report = await verified(place, repairing=True)

    for change in changes:
        assert any(map(change.is_told_by, report.differences)), change
    for one in report.differences:
        # A run with a changed id has no other evidence; totals have a live view beside them.
        assert one.mend.endswith("--mend") or one.kind in ("journal", "block_stats"), one
    await assert_right(place)


@pytest.mark.slow
async def test_mending_beside_a_load(place: Installation) -> None:
    """While workers and tally go on, mending neither disturbs them nor is undone by them."""
    load = asyncio.create_task(place.put(simulated(3_000, seed=3)))
    for table in MENDED:
        await tamper(place.db, table)
    report = await verified(place, repairing=True)
    await load
    await place.drained()
    await counted(place)
    assert report.mended > len(MENDED)

    await verified(place, repairing=True)  # totals that had gone on since they were looked at
    await assert_right(place)


async def test_entries_of_the_journal_are_found_and_mended(place: Installation) -> None:
    """One cell of every column of it, each in an entry of its own, is named by run, seq and column,
    and is put right from the topic of commands, and nothing else is touched."""
    folded = [await place.db.fetch(statement) for statement in [*FOLDED, JOURNAL]]
    changes = await tamper(place.db, TOLD_BY_TOPICS[0])

    report = await verified(place, repairing=True)

    for change in changes:
        assert any(map(change.is_told_by, report.differences)), change
    for one in report.differences:
        assert one.mend == MEND_ALL, one
        assert one.kind != "journal" or (one.graph_exec_id and "seq" in one.place), one
    assert folded == [await place.db.fetch(statement) for statement in [*FOLDED, JOURNAL]]
    await assert_right(place)


async def test_an_entry_that_the_topic_does_not_tell_stays(place: Installation) -> None:
    """It is named, and its run is left as it is."""
    row = await place.db.fetchrow(
        """insert into journal
           select (jsonb_populate_record(j, jsonb_build_object(
                       'seq', g.last_seq + 1, 'source_index', 999))).*
             from journal j join graph_execution g on g.id = j.graph_exec_id
            where not g.is_deleted and j.seq = 1 limit 1
           returning graph_exec_id::text as run_id, seq"""
    )
    report = await verified(place, repairing=True)
    gone = await place.db.execute(
        "delete from journal where graph_exec_id = $1 and seq = $2", row["run_id"], row["seq"]
    )

    assert {one.graph_exec_id for one in report.differences} == {row["run_id"]}
    assert {one.mend for one in report.differences} == {REBUILD}
    assert (report.mended, gone) == (0, "DELETE 1")
    await assert_right(place)


async def test_what_only_the_topics_tell_is_found(place: Installation) -> None:
    """One cell of every column of refusals, dead letters and the journal of key-values is found
    against the topic of commands, and nothing is mended from wrong rows.
    """
    tables = TOLD_BY_TOPICS[1:]
    kept = {
        table.name: await place.db.fetch(f"select r as row from {table.name} r") for table in tables
    }
    folded = [await place.db.fetch(statement) for statement in FOLDED]
    changes = [change for table in tables for change in await tamper(place.db, table)]

    report = await verified(place, repairing=True)

    for change in changes:
        assert any(map(change.is_told_by, report.differences)), change
    assert folded == [await place.db.fetch(statement) for statement in FOLDED]

    await _put_back(place, kept)
    await assert_right(place)


async def test_a_missing_dead_letter_with_a_binary_key(place: Installation) -> None:
    """It is named as any other, though its key is not the name of a user."""
    kept = {"dead_letter": await place.db.fetch("select r as row from dead_letter r")}
    await place.db.execute(r"delete from dead_letter where key = '\xff00'")
    found = (await verified(place)).differences
    await _put_back(place, kept)
    assert {(one.kind, one.field, one.found) for one in found} == {("dead_letter", "*", "missing")}


@pytest.mark.slow
async def test_sentences_of_the_version_before_are_no_difference(place: Installation) -> None:
    """Sentences without a reason, worded anew or missing, are no difference; everything else in the
    detail is compared, except for parts that depend on Postgres.
    """
    reasons = [row[0] for row in await place.db.fetch("select distinct reason from dead_letter")]
    assert {"not_json", "invalid_field", "wrong_partition"} <= set(reasons)
    kept = {"dead_letter": await place.db.fetch("select r as row from dead_letter r")}
    await place.db.execute("""update dead_letter set detail = detail || '{"message": "Anew"}'""")
    await assert_right(place)
    await place.db.execute("update dead_letter set detail = detail - 'message'")
    await assert_right(place)

    await place.db.execute("""update dead_letter set detail = detail || '{"path": "$.other"}'""")
    found = (await verified(place)).differences
    # Some of the others were refused by Postgres, which no rule determines.
    judged = await place.db.fetchval(
        "select count(*) from dead_letter where reason <> 'not_storable'"
    )
    await _put_back(place, kept)

    assert {(one.kind, one.field) for one in found} == {("dead_letter", "detail")}
    assert judged <= len(found) <= len(kept["dead_letter"])
    await assert_right(place)


@pytest.mark.slow
async def test_times_that_the_version_before_did_not_take(place: Installation) -> None:
    """Their dead letters stand, though a worker of this version would take the commands."""
    orders = Orders()
    start = orders.start(at="2026-03-01T06:30:00.123456789Z")
    ((partition, offset),) = await place.put([start])
    await place.drained()
    kept = {
        table: await place.db.fetch(f"select r as row from {table} r")
        for table in ("dead_letter", "refusal")
    }
    topic = place.topic(COMMANDS.name)
    await place.db.execute(
        "delete from refusal where source_partition = $1 and source_offset = $2", partition, offset
    )
    await place.db.execute(
        """insert into dead_letter values ($1, $2, $3, $4, $5, $6, '[]', 'invalid_field',
                  '{"path": "$.at", "message": "Expected `str` matching regex"}', now(), null)""",
        *(dead_letter_id(topic, partition, offset), topic, partition, offset),
        *(start.key, start.value),
    )

    found = (await verified(place)).differences
    await _put_back(place, kept)

    differing = {(one.kind, one.field) for one in found}
    assert not {kind for kind, _ in differing} & {"refusal"}
    assert ("dead_letter", "*") not in differing
    assert ("dead_letter", "detail") not in differing
    await assert_right(place)


async def _put_back(place: Installation, kept: dict[str, list[asyncpg.Record]]) -> None:
    async with place.db.acquire() as connection, connection.transaction():
        for table, rows in kept.items():
            await connection.execute(f"delete from {table}")
            await connection.execute(
                f"insert into {table} select * from unnest($1::{table}[])",
                [tuple(row["row"]) for row in rows],
            )


async def test_what_is_not_kept_is_left_out(place: Installation) -> None:
    """A run that was erased, and one without its journal after retention, are no differences: days
    of the totals on which they were are left out and named.
    """
    trimmed = await place.db.fetchval(
        "select id from graph_execution where status = 'COMPLETED' and not is_deleted limit 1"
    )
    await place.put(erased())
    await place.drained()
    await counted(place)
    for table in ("journal", "node_execution"):
        await place.db.execute(f"delete from {table} where graph_exec_id = $1", trimmed)
    await place.db.execute("update graph_execution set trimmed_at = now() where id = $1", trimmed)

    report = await assert_right(place)

    assert any(line.startswith("totals of partition") for line in report.left_out)


async def test_who_was_forgotten_is_left_out(place: Installation) -> None:
    """Records in the topic about a user without any rows are no difference."""
    orders = Orders(user_id="forgotten")
    await place.put([orders.keep(), orders.start(), orders.start(id="no UUID")])
    await place.drained()
    await counted(place)
    gone = await delete_personal(place.db, orders.user_id)
    assert min(gone["key_values"], gone["refusals"], gone["dead_letters"]) == 1

    report = await assert_right(place)

    assert "3 rows of users erased by `forget`" in report.left_out


@pytest.mark.slow
async def test_an_event_without_an_entry_is_found(place: Installation, tmp_path: Path) -> None:
    """An event that the journal does not know of is named, with its source; an unreadable record of
    another program is not. The printed command publishes the right events to listeners.
    """
    orders = Orders()
    [(partition, _)] = await place.put([orders.create()])
    await place.drained()
    event = json.loads((await place.events())[partition][-1].value)
    event["source"][2] += 1
    value = json.dumps(event).encode()
    deep = b'{"a":' + b"[" * 3_000 + b"]" * 3_000 + b"}"
    for said in (value, deep):
        await place.producer.send_and_wait(place.topic(EVENTS.name), said, partition=partition)

    report = await verified(place)

    [found] = [one for one in report.differences if one.kind == "event"]
    assert (found.field, found.expected, found.found) == ("*", "missing", "there")
    assert (found.graph_exec_id, found.place) == (orders.run_id, {"source": event["source"]})
    program = Program(tmp_path, place.settings.environment())
    told = await program(*shlex.split(found.mend)[1:], "--rate", "0", "--json")
    assert (told.code, told.json()["events"] > 0) == (0, True), told.err
