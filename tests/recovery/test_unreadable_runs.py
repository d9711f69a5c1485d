"""A stored row that cannot be read: verification, replays and exports name it and go on.

The planted values are those of `tests/planting.py` for each column.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from execstream.devstack import Addresses
from execstream.recovery.bundles import bundles
from execstream.recovery.bundles.bundles import export_runs, write_bundle
from execstream.recovery.bundles.redaction import Redaction
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.verify.report import MEND_ALL, REBUILD, Report
from execstream.recovery.verify.verify import Asked, verify
from execstream.storage import unreadable_rows
from execstream.storage.connections import READ, connection
from execstream.storage.reads.unreadable_runs import find_unreadable
from execstream.storage.schema.tables import JOURNAL, RUNS, STEPS, Table
from execstream.storage.unreadable_rows import Cell, UnreadableRun
from execstream.streams.topics import COMMANDS
from tests.agents.tallied import counted
from tests.orders import Orders
from tests.planting import (
    BROKEN,
    HEALTHY,
    Plant,
    columns_of_tables,
    life,
    one_of_each,
    planted,
    plants,
    rounds,
    rows_of,
)
from tests.recovery.lived import FROM_JOURNAL, drop, lived, replayed, untold
from tests.whole.program import Program
from tests.worker import Installation

RUN_TABLES = (RUNS, STEPS, JOURNAL)
RUNS_OF = {name: Orders(user_id=name) for name in (HEALTHY, BROKEN)}
VALUES = {"graph_exec_id": RUNS_OF[BROKEN].run_id, "user_id": BROKEN}


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation with a healthy run and one with changed rows."""
    async with lived(stack, tmp_path_factory.mktemp("logs"), 100) as own:
        for orders in RUNS_OF.values():
            await own.put(list(life(orders)))
        await own.drained()
        await counted(own)
        yield own


async def verified(place: Installation, *ids: str) -> Report:
    """The report on the runs of `ids`, or on everything."""
    return await verify(place.settings, Asked(ids), untold)


async def complaint(place: Installation, broken: str, ids: tuple[str, ...]) -> str | None:
    """The fault in the report, if there is one: an error, or a difference of another run."""
    try:
        report = await verified(place, *ids)
    except Exception as error:  # noqa: BLE001 - any is a defect
        return repr(error)[:300]
    others = [one for one in report.differences if one.graph_exec_id != broken]
    return repr(others[:2])[:300] if others else None


@pytest.mark.slow
async def test_verify_goes_on(place: Installation) -> None:
    """Whatever stands in the rows of a run, the others are verified, and only that one differs."""
    assert (await verified(place)).differences == []
    healthy, broken = (RUNS_OF[name].run_id for name in (HEALTHY, BROKEN))
    columns = await columns_of_tables(place.db)
    everything = [one for one in await plants(place.db) if one.table in RUN_TABLES]
    chosen = one_of_each(everything)
    wrong, taken = [], 0
    for some in rounds(chosen, each_alone=RUN_TABLES):
        placed = [(one, rows_of(one.table, columns[one.table.name], VALUES)) for one in some]
        async with planted(place.db, placed) as present:
            taken += len(present)
            found = [await complaint(place, broken, ids) for ids in ((), (broken,), (healthy,))]
        wrong += [f"{one} after {' and '.join(map(str, present))}" for one in found if one]
    assert taken > 0.8 * len(chosen)
    assert wrong == []


UNREADABLE = {
    "type": "'UNKNOWN'",
    "status": "'UNKNOWN'",
    "detail": "'[]'::jsonb",
}


@pytest.mark.parametrize("column", UNREADABLE)
async def test_the_cell_is_named(place: Installation, column: str) -> None:
    """The report has the table, the run, the entry, the column and the way out."""
    broken = RUNS_OF[BROKEN].run_id
    where = f"graph_exec_id = '{broken}' and seq = 2"
    async with planted(place.db, [(Plant(JOURNAL, column, UNREADABLE[column]), where)]) as present:
        assert present
        # The commands topic has the entry for commands that read all of it.
        for ids, mend in (((), MEND_ALL), ((broken,), REBUILD)):
            [named, *_] = [o for o in (await verified(place, *ids)).differences if o.place]
            assert (named.kind, named.graph_exec_id, named.field) == ("journal", broken, column)
            assert (named.place["seq"], named.mend) == (2, mend)
        assert str(Cell(JOURNAL.name, "entry 2", column)) in str(await found_by_doctor(place))
    assert (await verified(place)).differences == []
    assert await found_by_doctor(place) == []


async def found_by_doctor(place: Installation) -> list[UnreadableRun]:
    """The finding in the newest runs."""
    async with connection(place.settings.postgres, place.settings.schema_, READ) as opened:
        return list((await find_unreadable(opened)).unreadable.values())


OF_OTHER_TABLES = {
    RUNS: ("inputs", "'[]'::jsonb"),
    STEPS: ("status", "'UNKNOWN'"),
}


@pytest.mark.parametrize("table", OF_OTHER_TABLES, ids=lambda table: table.name)
async def test_the_newest_runs_are_looked_at(place: Installation, table: Table) -> None:
    """Rows of runs and of steps, too."""
    column, value = OF_OTHER_TABLES[table]
    where = rows_of(table, (await columns_of_tables(place.db))[table.name], VALUES)
    async with planted(place.db, [(Plant(table, column, value), where)]):
        [error] = await found_by_doctor(place)
        assert error.graph_exec_id == RUNS_OF[BROKEN].run_id
        assert (error.cell.table, error.cell.column) == (table.name, column)


@pytest.fixture
async def unreadable(place: Installation) -> AsyncIterator[str]:
    """The broken run, with an entry that cannot be read."""
    where = f"graph_exec_id = '{RUNS_OF[BROKEN].run_id}' and seq = 3"
    async with planted(place.db, [(Plant(JOURNAL, "detail", "'[]'::jsonb"), where)]) as present:
        assert present
        yield RUNS_OF[BROKEN].run_id
    unreadable_rows.noted.clear()


@pytest.mark.parametrize("worth_processes", [0, 10**9], ids=["processes", "here"])
async def test_a_replay_from_the_journal(
    place: Installation, unreadable: str, monkeypatch: pytest.MonkeyPatch, worth_processes: int
) -> None:
    """Everything except that run is rebuilt and proven; the incomplete schema is not swapped in."""
    monkeypatch.setattr(Rebuild, "worth_processes", worth_processes)
    monkeypatch.setattr(Rebuild, "batch_records", 50)
    unreadable_rows.noted.clear()
    try:
        report = await replayed(place, "planted", FROM_JOURNAL, swapping=True, force=True)
        again = await replayed(place, "planted", FROM_JOURNAL)
        assert await place.db.fetchval("select count(*) from planted.journal") > 0
        for table, column in ((RUNS, "id"), (STEPS, "graph_exec_id"), (JOURNAL, "graph_exec_id")):
            statement = f"select count(*) from planted.{table.name} where {column} = $1"
            assert await place.db.fetchval(statement, unreadable) == 0
    finally:
        await drop(place.db, "planted")
    assert (report.unreadable, report.swapped, report.is_good) == ([unreadable], False, False)
    assert report.proof is not None
    assert report.proof.differences == []
    assert again.unreadable == [unreadable]
    assert unreadable in str(unreadable_rows.left_out())


async def test_a_replay_from_the_topics(place: Installation, unreadable: str) -> None:
    """The topic has the run as it was, so that the entry differs and nothing is left out."""
    try:
        report = await replayed(place, "planted")
    finally:
        await drop(place.db, "planted")
    assert report.unreadable == []
    assert report.proof is not None
    assert {one.table for one in report.proof.differences} == {JOURNAL.name}
    assert {str(one.key[0]) for one in report.proof.differences} == {unreadable}


async def test_a_bundle(place: Installation, unreadable: str, tmp_path: Path) -> None:
    """Of two runs the one that can be read is exported; alone, the other one is an error."""
    program = Program(tmp_path, place.settings.environment())
    healthy = RUNS_OF[HEALTHY].run_id

    both = await program("export", "--run", healthy, unreadable, "--out", "both.zst", "--json")
    alone = await program("export", "--run", unreadable, "--out", "alone.zst", "--json")

    assert (both.code, both.json()["runs"]) == (1, 1)
    assert "1 runs" in both.err
    assert unreadable in both.err
    assert (alone.code, alone.out) == (1, "")
    assert "journal entry 3 column detail" in alone.err
    assert f"`execstream verify {unreadable}`" in alone.err
    replayed_bundle = await program("replay", "both.zst", "--into", "planted", "--json")
    await drop(place.db, "planted")
    assert (replayed_bundle.code, replayed_bundle.json()["runs"]) == (0, 1)


async def test_a_bundle_of_another_version(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with an entry that cannot be folded has its other runs rebuilt."""
    monkeypatch.setattr(bundles, "check", lambda _: None)  # as before it was checked
    healthy, unreadable = (RUNS_OF[name].run_id for name in (HEALTHY, BROKEN))
    where = f"graph_exec_id = '{unreadable}' and seq = 3"
    async with planted(place.db, [(Plant(JOURNAL, "type", "'UNKNOWN'"), where)]):
        ids = [UUID(healthy), UUID(unreadable)]
        exported = await export_runs(place.settings, ids, Redaction([]), untold)
    monkeypatch.undo()
    write_bundle(exported.lines, tmp_path / "old.zst")
    program = Program(tmp_path, place.settings.environment())

    rebuilt = await program("replay", "old.zst", "--into", "planted", "--json")

    await drop(place.db, "planted")
    assert (rebuilt.code, rebuilt.json()["runs"]) == (1, 1)
    assert unreadable in rebuilt.err


async def test_changed_rules(place: Installation, tmp_path: Path) -> None:
    """A run with an unreadable end is left out."""
    program = Program(tmp_path, place.settings.environment())
    where = f"id = '{RUNS_OF[BROKEN].run_id}'"
    topic = place.topic(COMMANDS.name)
    before = await program("rules", "test", "--against", topic, "--json")
    async with planted(place.db, [(Plant(RUNS, "status", "'UNKNOWN'"), where)]):
        found = await program("rules", "test", "--against", topic, "--json")
    assert (found.code, found.out) == (1, before.out)
    assert f"`execstream verify {RUNS_OF[BROKEN].run_id}`" in found.err


async def test_events_again(place: Installation, unreadable: str, tmp_path: Path) -> None:
    """Events of others are published; the number of omitted ones is printed, and the exit code is
    1.
    """
    program = Program(tmp_path, place.settings.environment())
    told = await program("replay", "--events", "--to-redis", "--rate", "0", "--json")
    assert told.code == 1
    assert told.json()["events"] > 0
    assert f"`execstream verify {unreadable}`" in told.err
