"""Replays where something is lost: journals of runs, the database, the topic, or people."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.recovery.offsets.offset_rows import rebase_commands
from execstream.recovery.replay.bounds import Asked, OutOfReach
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.retention import trim_day
from execstream.storage.schema.tables import TOTALS
from execstream.streams.topics import COMMANDS
from tests.agents.tallied import counted
from tests.orders import Order, Orders
from tests.recovery.lived import (
    FROM_JOURNAL,
    delete_before,
    drop,
    erased,
    replayed,
    simulated,
    tallying,
)
from tests.recovery.test_offsets import lost_and_made_again
from tests.whole.program import Program
from tests.worker import Installation, installation, until

OLD = datetime(2026, 2, 3, 12, tzinfo=UTC)
AT = {"at": OLD.isoformat()}


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation of a test's own, with workers of roles apply and tally."""
    async with installation(stack, tmp_path) as own:
        async with own.worker(), tallying(own):
            yield own
        await drop(own.db, schema_of(own))


def schema_of(place: Installation) -> str:
    return f"{place.settings.schema_}_new"


def begun(run: Orders) -> list[Order]:
    """The runs of the old day."""
    return [run.create(run.node("a"), **AT), run.start(**AT), run.move_step("a", "RUNNING", **AT)]


def ended(run: Orders) -> list[Order]:
    stats = {"cost": 3, "error": "boom"}
    return [run.move_step("a", "FAILED", stats=stats, **AT), run.move("COMPLETED", **AT)]


async def trimmed(place: Installation) -> None:
    """Retention drops the old day."""

    async def is_gone() -> bool:
        return await trim_day(place.db, OLD.date(), datetime.now(UTC)) is not None

    await place.drained()
    await until(is_gone)


async def totals(place: Installation) -> dict[str, list[str]]:
    """All rows of all tables."""
    found = {}
    for table in TOTALS:
        rows = await place.db.fetch(f"select t::text from {table.name} t order by 1")
        found[table.name] = [row[0] for row in rows]
    return found


@pytest.mark.slow
async def test_a_rebuild_from_the_journal_keeps_totals(place: Installation, tmp_path: Path) -> None:
    """Totals of days with an incomplete journal are those of the live schema after a swap, and
    those of all time are their sums; others are counted again.
    """
    old, older, today = Orders(), Orders(), Orders()
    await place.put([*begun(old), *ended(old), *begun(older), *ended(older), *erased()])
    await place.put([today.create(today.node("b")), today.start(), *simulated(300)])
    await counted(place)
    await trimmed(place)
    await place.put([old.order("graph.share", is_shared=True, share_token_hash="0" * 64)])
    await place.drained()
    await counted(place)
    before = await totals(place)
    assert all(before.values())

    report = await replayed(place, schema_of(place), FROM_JOURNAL, swapping=True)

    assert report.proof is not None
    assert (report.proof.differing, report.swapped) == ({}, True)
    assert any("2026-02-03 to 2026-03-01" in what for what in report.left_out)
    assert await totals(place) == before
    await place.put([today.move_step("b", "RUNNING"), today.move_step("b", "COMPLETED")])
    await place.drained()
    await counted(place)
    found = await Program(tmp_path, place.settings.environment())("verify", "--all")
    assert found.code == 0, found.out


async def test_a_begin_amid_the_lives_of_lost_runs(place: Installation) -> None:
    """Runs that were erased or trimmed before the begin, across it or after it come out as they
    are, with the refusals of their commands, and totals are right.
    """
    across, old_across, old_before, old_after = Orders(), Orders(), Orders(), Orders()
    gone, kept, quiet = erased(), Orders(), Orders()
    await place.put([*begun(quiet), *ended(quiet)])
    await place.put([across.create(across.node("a")), across.start(), *begun(old_across)])
    await place.put([*begun(old_before), *ended(old_before), *gone, kept.create(kept.node("a"))])
    await place.drained()
    begins = await place._ends(COMMANDS.name)
    await place.put([across.move_step("a", "RUNNING"), across.move_step("x", "RUNNING")])
    await place.put([across.move_step("a", "FAILED"), across.order("graph.delete", hard=True)])
    await place.put([across.start(), across.create(across.node("b")), gone[-1], across.raw(b"bad")])
    await place.put([old_across.move_step("x", "FAILED", **AT), *ended(old_across)])
    await place.put([*begun(old_after), *ended(old_after), *erased(), kept.start()])
    await place.drained()
    await counted(place)
    await trimmed(place)
    late = [old_before, old_across, old_after]
    share = {"is_shared": True, "share_token_hash": "0" * 64}
    await place.put([one.order("graph.share", **share) for one in late])
    await place.put([one.move_step("a", "RUNNING") for one in late])
    await place.drained()
    await counted(place)
    before = await totals(place)
    refusals = await place.db.fetch("select * from refusal order by 1, 2")

    report = await replayed(place, schema_of(place), Asked("topics", begins, {}), swapping=True)

    assert report.proof is not None
    assert (report.proof.differences, report.proof.differing) == ([], {})
    assert report.swapped
    after = await totals(place)
    after["run_error"] = [row for row in after["run_error"] if old_after.run_id not in row]
    assert after == before
    rebuilt = await place.db.fetch("select * from refusal order by 1, 2")
    about = {row["graph_exec_id"] for row in refusals}
    # Runs trimmed after the begin are folded as if they had not been.
    whole = [row for row in refusals if str(row["graph_exec_id"]) != old_after.run_id]
    assert [row for row in rebuilt if str(row["graph_exec_id"]) != old_after.run_id] == whole
    assert len(about) > 3


async def test_a_topic_that_was_made_again(stack: Addresses, tmp_path: Path) -> None:
    """When the live schema is beyond the topic's end, a replay reports it; from the journal it
    works, and keeps the dead letters of the former topic.
    """
    async with installation(stack, tmp_path) as place:
        run = Orders()
        async with place.worker(), tallying(place):
            await place.put([run.create(run.node("a")), run.raw(b"bad"), run.start()])
            await place.drained()
            await counted(place)
        await lost_and_made_again(place, COMMANDS.name)
        schema = schema_of(place)
        with pytest.raises(OutOfReach, match=r"made again.*offsets rebase commands"):
            await replayed(place, schema)
        await rebase_commands(place.db, place.topic(COMMANDS.name))
        letters = await place.db.fetch("select id, topic from dead_letter")
        assert len(letters) == 1
        report = await replayed(place, schema, FROM_JOURNAL, swapping=True)
        assert report.swapped
        assert await place.db.fetch("select id, topic from dead_letter") == letters
        await drop(place.db, schema)


async def test_a_lost_database_that_is_older_than_the_topic(
    stack: Addresses, tmp_path: Path
) -> None:
    """When there is no live schema and the topic does not begin at its beginning, a replay prints a
    possible start, and from there brings back the rest.
    """
    async with installation(stack, tmp_path) as place:
        lost, left = Orders(), Orders()
        on_three = [
            order._replace(partition=3)
            for order in (lost.create(), lost.start(), left.create(), left.start())
        ]
        async with place.worker():
            await place.put(on_three)
            await place.drained()
        await delete_before(place, {3: 1})
        await drop(place.db, place.settings.schema_)
        await migrate(place.settings.postgres, place.settings.schema_)
        schema = schema_of(place)
        with pytest.raises(OutOfReach, match=r"`--from 0:0,1:0,2:0,3:1,4:0,5:0,6:0,7:0`"):
            await replayed(place, schema)
        report = await replayed(place, schema, Asked("topics", {3: 1}, {}), swapping=True)
        assert (report.swapped, report.replayed) == (True, 3)
        assert ["commands before 3:1" in what for what in report.left_out] == [True]
        rows = await place.db.fetch("select id, status from graph_execution")
        assert [(str(row["id"]), row["status"]) for row in rows] == [(left.run_id, "RUNNING")]
        refused = await place.db.fetchval("select graph_exec_id from refusal")
        assert str(refused) == lost.run_id
        async with place.worker():
            await place.put([left.move("COMPLETED")._replace(partition=3)])
            await place.drained()
        assert await place.db.fetchval("select status from graph_execution") == "COMPLETED"
        await drop(place.db, schema)


TOLD_OF_PEOPLE = ("kv_journal", "kv_data", "refusal", "user_day", "dead_letter")


async def test_who_was_forgotten_stays_forgotten(place: Installation, tmp_path: Path) -> None:
    """The topic has records about people who were forgotten since; a rebuild equals the live
    schema, and brings nothing of them back. A user who only deleted everything is not one of them.
    """
    program = Program(tmp_path, place.settings.environment())
    await place.put([*_traces("ada"), *_traces("eve"), Orders(user_id="key-only").keep()])
    deleting = Orders(user_id="bob")
    await place.put([*_traces("bob", deleting), deleting.order("graph.delete", hard=True)])
    await place.drained()
    await counted(place)
    assert await _about(place, "ada") == set(TOLD_OF_PEOPLE)
    eve, bob = await _about(place, "eve"), await _about(place, "bob")
    for user in ("ada", "key-only"):
        told = await program("forget", "--user", user, "--yes")
        assert told.code == 0, told.err
    await place.drained()
    await counted(place)

    report = await replayed(place, schema_of(place), swapping=True)

    assert report.proof is not None
    assert (report.proof.differences, report.proof.differing) == ([], {})
    assert report.swapped
    assert report.left_out == ["rows about 2 people whom the live schema has forgotten"]
    assert await _about(place, "ada") == await _about(place, "key-only") == set()
    assert (await _about(place, "eve"), await _about(place, "bob")) == (eve, bob)


def _traces(user_id: str, run: Orders | None = None) -> list[Order]:
    run = run or Orders(user_id=user_id)
    return [
        *(run.create(run.node("a")), run.start(), run.move_step("a", "RUNNING"), run.keep()),
        *(run.move_step("a", "FAILED"), run.move_step("x", "FAILED"), run.raw(b"bad")),
    ]


async def _about(place: Installation, user_id: str) -> set[str]:
    """Tables that have something of a person, beside the rows of runs."""
    found = set()
    for table in TOLD_OF_PEOPLE:
        where = "user_id = $1"
        if table == "dead_letter":
            where = "key in (select id::text::bytea from graph_execution where user_id = $1)"
        if await place.db.fetchval(f"select exists (select from {table} where {where})", user_id):
            found.add(table)
    return found


async def test_a_schema_that_was_only_migrated(place: Installation) -> None:
    """A replay that was killed before it had a plan may be repeated."""
    await place.put(simulated(100))
    await place.drained()
    await migrate(place.settings.postgres, schema_of(place))
    report = await replayed(place, schema_of(place))
    assert report.proof is not None
    assert report.proof.is_equal


async def test_tables_of_ones_own_stay_live(place: Installation) -> None:
    """An operator's own tables in the live schema, partitions too, are there after a swap."""
    await place.put(simulated(100))
    await place.drained()
    await place.db.execute("""
        create table notes (id bigint generated always as identity, note text);
        insert into notes (note) values ('mine');
        create table days (day date, note text) partition by range (day);
        create table days_first partition of days for values from ('2026-01-01') to ('2027-01-01');
        insert into days values ('2026-03-01', 'mine')
    """)
    assert (await replayed(place, schema_of(place), swapping=True)).swapped
    await drop(place.db, schema_of(place))
    await place.db.expire_connections()
    assert await place.db.fetchval("select note from notes") == "mine"
    assert await place.db.fetchval("select note from days") == "mine"
    assert await place.db.fetchval("insert into notes (note) values ('more') returning id") == 2


@pytest.mark.slow
async def test_differences_of_every_table_are_told(place: Installation, tmp_path: Path) -> None:
    """Many differences of one table do not hide those of another, and their number is printed; both
    sums are printed, by partition too.
    """
    runs = [Orders() for _ in range(30)]
    await place.put([order for one in runs for order in (one.create(one.node("a")), one.start())])
    await place.drained()
    await place.db.execute("update graph_execution set graph_id = 'x'")
    await place.db.execute("update node_execution set block_id = 'x'")
    program = Program(tmp_path, place.settings.environment())
    report = (await program("replay", "--into", schema_of(place), "--json")).json()
    of = {one["table"] for one in report["differences"]}
    assert of == {"graph_execution", "node_execution"}
    assert len(report["differences"]) == 40
    table = report["tables"]["node_execution"]
    assert (table["rows"], table["live_rows"], table["differing"]) == (30, 30, 30)
    assert table["hash"] != table["live_hash"]
    sums = sum(int(one["live_hash"], 16) for one in table["partitions"].values())
    assert f"{sums % 2**64:016x}" == table["live_hash"]
    told = await program("replay", "--into", schema_of(place))
    assert "graph_execution: 10 more differ." in told.out.splitlines()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--into", "new", "--source", "journal", "--from", "0:5"), "--from is for the topics"),
        (("--into", "new", "--from", "99:5"), "has no partition 99"),
        (("--into", "new", "--events", "--to-redis"), "--events rebuilds nothing"),
        (("--swap", "--events", "--to-redis"), "--events rebuilds nothing"),
        (("some.zst", "--swap"), "only --into goes with it"),
        (("--into", "new", "--force"), "--force requires --swap"),
    ],
)
async def test_options_that_would_be_ignored(
    stack: Addresses, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    """They are refused in a sentence."""
    async with installation(stack, tmp_path) as place:
        told = await Program(tmp_path, place.settings.environment())("replay", *options)
    assert told.code != 0
    assert why in told.err


async def test_progress_is_told_step_by_step(place: Installation) -> None:
    """Few commands, indexes and the comparison report their progress."""
    await place.put(simulated(50))
    await place.drained()
    said: dict[str, list[tuple[int, int]]] = {}

    def tell(what: str, done: int, total: int) -> None:
        said.setdefault(what, []).append((done, total))

    await replayed(place, schema_of(place), tell=tell)
    assert list(said) == ["Replaying commands", "Making indexes", "Comparing"]
    assert all(steps[-1][0] == steps[-1][1] > 1 for steps in said.values())
    assert [done for done, _ in said["Comparing"]] == [*range(len(said["Comparing"]))]
