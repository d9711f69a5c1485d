"""Exports of events, runs and steps as Parquet files, read by DuckDB."""

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pytest

from execstream.client.event_batches import EventPosition
from execstream.recovery.parquet.export_folder import ExportFolder, NotThisExport
from execstream.recovery.parquet.rows import Kind, table_of
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.simulation import load_graphs
from tests.faults.feeding import small_records
from tests.orders import Order
from tests.whole.program import Program
from tests.worker import HOME, Installation, Worker, until

ORIGIN = ("cluster", "events", "id")
RECORDS, KILLS = 3_000, 5

_ENDS = """
select graph_exec_id::text, seq, status, node_exec_id::text from journal
 where status in ('COMPLETED', 'FAILED', 'TERMINATED') and node_exec_id is {} null
"""


@pytest.fixture(scope="module")
async def applied(place: Installation, worker: Worker) -> int:
    """Simulated commands, bad ones among them, are applied; the number of their events."""
    assert worker.is_alive
    records = islice(small_records(load_graphs(EXAMPLE_GRAPHS), 5), RECORDS)
    await place.put(Order(record.key, record.value) for record in records)
    await place.drained()
    return sum(map(len, (await place.events()).values()))


def read(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    """Rows of all files, as DuckDB has them."""
    return sorted(query(f"select {columns} from '{folder}/*/*.parquet'"), key=str)


def query(sql: str) -> list[tuple[Any, ...]]:
    found = duckdb.sql(sql)
    assert found is not None
    return found.fetchall()


# Commits of some rows, so that kills come between them and in them.
SMALL_COMMITS = """
from functools import partial
from execstream.recovery.parquet import exporting
from execstream.__main__ import main
exporting.MOST_ROWS = 20
exporting.EventConsumer = partial(exporting.EventConsumer, max_events=20)
main()
"""


async def commits_until_killed(program: Program, seconds: float, *arguments: str) -> None:
    """Export with small commits, and kill it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SMALL_COMMITS, "export", *arguments),
        cwd=program.directory,
        env=os.environ | {"PYTHONPATH": str(HOME)} | dict(program.variables),
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    position = Path(arguments[2]) / arguments[0] / "position.json"
    before = position.read_bytes() if position.exists() else b""
    try:
        await until(lambda: _differs(position, before))
        await asyncio.sleep(seconds)
    finally:
        process.kill()
        await process.wait()


async def _differs(position: Path, before: bytes) -> bool:
    return position.exists() and position.read_bytes() != before


@pytest.mark.slow
async def test_every_event_once_over_kills(
    applied: int, program: Program, place: Installation, tmp_path: Path
) -> None:
    """Killed five times among its commits, an export has each event of the topic once."""
    chance, to = random.Random(7), tmp_path / "tables"
    for _ in range(KILLS):
        await commits_until_killed(
            program, chance.uniform(0, 0.05), "events", "--to", str(to), "--follow"
        )
    committed = len(read(to / "events", "seq"))
    last = await program("export", "events", "--to", str(to), "--json")
    again = await program("export", "events", "--to", str(to), "--json")

    assert last.code == 0, last.err
    assert 0 < committed < applied
    assert (again.json()["rows"], again.json()["files"], again.json()["left"]) == (0, 0, 0)
    sources = "source_partition, source_offset, source_index"
    topic = await place.events()
    due = [json.loads(one.value)["source"] for records in topic.values() for one in records]
    assert len(due) == applied
    assert read(to / "events", sources) == sorted(map(tuple, due), key=str)
    days = {path.parent.name for path in (to / "events").glob("*/*.parquet")}
    assert days == {f"day={day}" for (day,) in read(to / "events", 'distinct "at"::date')}


@pytest.mark.slow
async def test_ctrl_c_writes_the_rest(applied: int, program: Program, tmp_path: Path) -> None:
    """An export that follows has all rows in files when it is interrupted."""
    async with program.running("export", "events", "--to", str(tmp_path), "--follow") as exporting:
        await asyncio.sleep(6)
        exporting.send_signal(signal.SIGINT)
        await exporting.communicate()
    assert exporting.returncode == 128 + signal.SIGINT
    assert len(read(tmp_path / "events", "seq")) == applied


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(("kind", "negation"), [("runs", ""), ("steps", "not")])
async def test_ends_are_those_of_the_journal(
    kind: str, negation: str, program: Program, place: Installation, tmp_path: Path
) -> None:
    """A row for each end of a run or step, with what the views of Postgres have of it."""
    done = await program("export", kind, "--to", str(tmp_path))
    assert done.code == 0, done.err
    assert "rows" in done.out
    rows = await place.db.fetch(_ENDS.format(negation))
    step = "node_exec_id" if kind == "steps" else "null"
    columns = f"graph_exec_id, seq, status, {step}"
    assert read(tmp_path / kind, columns) == sorted(map(tuple, rows), key=str)
    view = await place.db.fetchrow(
        f"select count(error), sum(cost)::float8 from {kind}"
        " where status in ('COMPLETED', 'FAILED', 'TERMINATED')"
    )
    last = "row_number() over (partition by {} order by seq desc) = 1".format(
        "graph_exec_id" if kind == "runs" else "graph_exec_id, node_exec_id"
    )
    found = query(
        f"select count(error), sum(cost) from"
        f" (select * from '{tmp_path}/{kind}/*/*.parquet' qualify {last})"
    )
    assert found == [tuple(view)]


@pytest.mark.usefixtures("applied")
async def test_the_example_of_duckdb(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures by block are those of all ends of steps."""
    assert (await program("export", "steps", "--to", str(tmp_path / "tables"))).code == 0
    monkeypatch.chdir(tmp_path)
    found = query((HOME / "examples/duckdb/failures_by_block.sql").read_text())
    assert sum(row[2] for row in found) == len(read(tmp_path / "tables" / "steps", "seq"))
    assert any(row[3] for row in found)


def commits(folder: Path) -> Iterator[int]:
    """Commit rows of two days, one commit after the other; yields the number before each."""
    target = ExportFolder(folder, Kind.RUNS, ORIGIN)
    for number in range(target.state.number, 3):
        yield number
        rows = [{"graph_exec_id": f"run {number}", "status": "COMPLETED"}]
        tables = {day: table_of(Kind.RUNS, rows) for day in ("2026-01-01", "2026-01-02")}
        target.commit(tables, {0: EventPosition(number + 1)})


def test_a_crash_at_any_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a commit are there once, whichever of its renames does not come to pass."""
    usual = Path.rename
    for at in range(12):
        folder, count = tmp_path / str(at), 0

        def crash(path: Path, target: Path, at: int = at) -> Path:
            nonlocal count
            count += 1
            if count == at:
                raise KeyboardInterrupt
            return usual(path, target)

        folder.mkdir()
        monkeypatch.setattr(Path, "rename", crash)
        for _ in range(2):
            try:
                for _ in commits(folder):
                    pass
            except KeyboardInterrupt:
                continue
        runs = [f"run {number}" for number in (0, 0, 1, 1, 2, 2)]
        assert [row[0] for row in read(folder, "graph_exec_id")] == runs
        assert not list(folder.glob("*/*.part"))


def test_another_export_is_refused(tmp_path: Path) -> None:
    """A folder keeps to its kind and its topic."""
    for _ in commits(tmp_path):
        pass
    for kind, origin in ((Kind.STEPS, ORIGIN), (Kind.RUNS, ("cluster", "events", "another"))):
        with pytest.raises(NotThisExport, match="export to another folder"):
            ExportFolder(tmp_path, kind, origin)
