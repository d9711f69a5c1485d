"""`execstream import` of tables in the original's shape: equal afterwards, whatever happens."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from execstream.devstack import Addresses
from execstream.recovery.verify.verify import Asked, verify
from execstream.storage.connections import connect
from execstream.storage.reads.block_errors import get_block_error_stats
from execstream.storage.reads.run_detail import (
    get_graph_execution,
    get_graph_execution_by_share_token,
)
from tests.agents.alerted import begun
from tests.agents.tallied import counted
from tests.recovery.lived import untold
from tests.recovery.original_tables import OriginalDatabase, original
from tests.whole.program import Program
from tests.worker import Installation, installation

RUNS = 300
THEN = "2026-03-01 06:30"


@pytest.fixture
async def source(stack: Addresses) -> AsyncIterator[OriginalDatabase]:
    async with original(stack.postgres_dsn) as tables:
        yield tables


async def imported(program: Program, source: OriginalDatabase, *options: str) -> dict[str, Any]:
    """The receipt of an import."""
    ended = await program("import", "--from", source.dsn, "--json", *options)
    assert ended.err == ""
    receipt: dict[str, Any] = ended.json()
    assert ended.code == (0 if receipt["equal"] else 1)
    return receipt


@asynccontextmanager
async def connected(place: Installation) -> AsyncIterator[asyncpg.Pool]:
    """The pool that reads take."""
    db = await connect(place.settings.postgres, place.settings.schema_)
    try:
        yield db
    finally:
        await db.close()


@pytest.mark.slow
async def test_rows_are_equal_here_and_nobody_is_alarmed(
    stack: Addresses, source: OriginalDatabase, tmp_path: Path
) -> None:
    """Runs of March and of the last hours, with many failures: rows and totals are the original's,
    `verify` finds nothing, there is no alert, no live figure, and each day has its partition. The
    same import again sends nothing.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    await source.fill(1, RUNS, first=THEN, step="5 min")
    await source.fill(RUNS + 1, 2 * RUNS, first=str(now - timedelta(hours=10)), step="1 min")
    await source.db.execute("""update "AgentNodeExecution" set "executionStatus" = 'FAILED'
                                where "agentNodeId" = 'node-3'""")
    async with installation(stack, tmp_path) as place, place.worker():
        tally = await begun(place)
        program = Program(tmp_path, place.settings.environment())
        receipt = await imported(program, source)
        again = await imported(program, source)
        await place.events()
        await counted(place)
        report = await verify(place.settings, Asked(), untold)
        days = await place.db.fetch(
            """select distinct tableoid::regclass::text as name from journal
                where tableoid = 'journal_other'::regclass or run_day < '2026-03-04'"""
        )
        figures = await place.db.fetchrow(
            """select sum(added)::int, sum(added_failed)::int,
                      sum(ended) filter (where minute > now() - interval '1 day')::int
                 from block_minute"""
        )
        async with connected(place) as db:
            errors = await get_block_error_stats(db, datetime(2026, 3, 1, tzinfo=UTC), now_utc())
        alerts = await place.db.fetchval("select count(*) from alert")
        marked = await place.db.fetchval("select bool_and(detail ? 'imported') from journal")
        assert await tally.stop() == 0

    steps = 12 * RUNS
    failed = await source.db.fetchval(
        """select count(*) from "AgentNodeExecution" where "executionStatus" = 'FAILED'"""
    )
    expected = await source.db.fetch(
        """select "agentBlockId", count(*), count(*) filter (where "executionStatus" = 'FAILED')
             from "AgentNodeExecution" join "AgentNode" n on n.id = "agentNodeId" group by 1"""
    )
    assert receipt["rows"] == {
        name: [count, count]
        for name, count in {
            "inputs": 2 * steps,
            "key_values": RUNS // 5,
            "outputs": 2 * steps,
            "runs": 2 * RUNS,
            "steps": steps,
        }.items()
    }
    assert receipt["statuses"]["steps"]["FAILED"] == [failed, failed]
    assert receipt["counts"] == {"left_out": 0, "differences": 0, "differing": 0}
    assert [again["equal"], again["sent"], again["unchanged"]] == [True, 0, 2 * RUNS + RUNS // 5]
    assert report.differences == []
    assert [tuple(figures), alerts, marked] == [(steps, failed, 0), 0, True]
    assert {(one.block_id, one.total_executions, one.failed_executions) for one in errors} == {
        tuple(row) for row in expected
    }
    assert {row["name"] for row in days} == {f"journal_2026030{day}" for day in (1, 2)}


@pytest.mark.slow
async def test_an_import_that_is_killed_continues(
    stack: Addresses, source: OriginalDatabase, tmp_path: Path
) -> None:
    """Killed five times where it sends, it brings every row once."""
    await source.fill(1, 4 * RUNS, first=THEN, step="5 min")
    async with installation(stack, tmp_path) as place, place.worker():
        program = Program(tmp_path, place.settings.environment())
        kills = 0
        for number in range(5):
            kills += await _kill(program, place, source, 200 * (number + 1))
        receipt = await imported(program, source)
        outcomes = await place.db.fetchrow(
            """select sum(applied)::int, sum(refused)::int, sum(dead)::int, sum(duplicate)::int
                 from consumer_offset where consumer = 'apply'"""
        )
        entries = await place.db.fetchval(
            "select count(distinct (graph_exec_id, command_id)) from journal"
        )
        key_values = await place.db.fetchval("select count(*) from kv_journal")

    applied, refused, dead, _ = outcomes
    assert kills >= 3
    assert receipt["counts"] == {"left_out": 0, "differences": 0, "differing": 0}
    assert receipt["rows"]["runs"] == [4 * RUNS, 4 * RUNS]
    assert (applied, refused, dead) == (entries + key_values, 0, 0)


async def _kill(program: Program, place: Installation, source: OriginalDatabase, runs: int) -> bool:
    """Kill an import when so many runs are here; false if it ended before."""
    async with program.running("import", "--from", source.dsn, "--json") as process:
        while process.returncode is None:
            if await place.db.fetchval("select count(*) from graph_execution") >= runs:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                return True
            await asyncio.sleep(0)
    return False


async def test_a_later_import_brings_the_changes(
    stack: Addresses, source: OriginalDatabase, tmp_path: Path
) -> None:
    """A run that was going on is imported once more when it has ended: the former commands are
    duplicates, the others take effect."""
    run = await add_run(source, executionStatus="RUNNING", startedAt=at(1), stats='{"cost": 1}')
    step = await add_step(
        source, run, executionStatus="RUNNING", startedTime=at(2), queuedTime=at(0)
    )
    async with installation(stack, tmp_path) as place, place.worker():
        program = Program(tmp_path, place.settings.environment())
        first = await imported(program, source)
        await source.db.execute(
            """update "AgentNodeExecution" set "executionStatus" = 'COMPLETED', "endedTime" = $1""",
            at(3),
        )
        await source.db.execute(
            """update "AgentGraphExecution" set "executionStatus" = 'COMPLETED', "endedAt" = $1,
                      stats = '{"cost": 2}'""",
            at(4),
        )
        await source.add(
            "AgentNodeExecutionInputOutput",
            name="out",
            data="[1.50]",
            time=at(3),
            referencedByOutputExecId=step,
        )
        second = await imported(program, source)
        refused = await place.db.fetchval("select count(*) from refusal")

    assert (first["equal"], second["equal"], refused) == (True, True, 0)
    assert second["statuses"]["runs"] == {"COMPLETED": [1, 1]}
    assert (second["rows"]["outputs"], second["totals"]["cost"]) == ([1, 1], [2, 2])


def at(seconds: float) -> datetime:
    """A time after the creation of runs."""
    return datetime.fromisoformat(THEN) + timedelta(seconds=seconds)


def now_utc() -> datetime:
    """The end of the minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)


async def add_run(source: OriginalDatabase, **columns: object) -> str:
    """A run of ada's, with the database's default status unless `columns` has another."""
    about = {"createdAt": at(0), "agentGraphId": "graph", "userId": "ada"}
    return await source.add("AgentGraphExecution", **(about | columns))


async def add_step(source: OriginalDatabase, run: str, **columns: object) -> str:
    """A step with an input."""
    await source.db.execute(
        """insert into "AgentNode" values ('node', 'block') on conflict do nothing"""
    )
    about = {"agentGraphExecutionId": run, "agentNodeId": "node", "addedTime": at(0)}
    step = await source.add("AgentNodeExecution", **(about | columns))
    await add_input(source, step)
    return step


async def add_input(source: OriginalDatabase, step: str, **columns: object) -> str:
    about = {"name": "in", "data": "1", "time": at(0), "referencedByInputExecId": step}
    return await source.add("AgentNodeExecutionInputOutput", **(about | columns))


async def test_odd_rows_are_listed_or_brought_the_nearest_way(
    stack: Addresses, source: OriginalDatabase, tmp_path: Path
) -> None:
    """Rows that no legal way leads to are left out with their column or reason, and with
    `--nearest` only those without any way at all; all differences are in the receipt."""
    ended = {"executionStatus": "COMPLETED", "startedAt": at(1), "endedAt": at(9)}
    run = await add_run(source, **ended)
    never_ended = await add_run(source, executionStatus="COMPLETED", startedAt=at(1))
    spaced = await add_run(source, **ended, userId="a b")
    named = await add_run(source, **ended, id="Run One")
    worded = await add_run(source, **ended, stats='"no object"')
    states: dict[str, dict[str, object]] = {
        "never started": {"executionStatus": "COMPLETED", "queuedTime": at(0), "endedTime": at(3)},
        "never queued": {"executionStatus": "FAILED", "endedTime": at(3)},
        "no end": {"executionStatus": "FAILED", "queuedTime": at(0), "startedTime": at(1)},
        "ended and over": {
            "executionStatus": "TERMINATED",
            "queuedTime": at(0),
            "startedTime": at(1),
            "endedTime": at(3),
        },
        "worded": {
            "executionStatus": "COMPLETED",
            "queuedTime": at(0),
            "startedTime": at(1),
            "endedTime": at(3),
            "executionData": '"lost"',
        },
    }
    odd = {name: await add_step(source, run, **columns) for name, columns in states.items()}
    good = {
        "left running": {"executionStatus": "RUNNING", "queuedTime": at(0), "startedTime": at(2)},
        "resumed": {
            "executionStatus": "COMPLETED",
            "queuedTime": at(4),
            "startedTime": at(5),
            "endedTime": at(6),
        },
        "in review": {"executionStatus": "REVIEW", "queuedTime": at(0), "startedTime": at(1)},
        "queued again": {"executionStatus": "QUEUED", "queuedTime": at(5), "startedTime": at(1)},
        "waiting": {"executionStatus": "INCOMPLETE", "addedTime": at(5)},
        "backwards": {
            "executionStatus": "COMPLETED",
            "queuedTime": at(0),
            "startedTime": at(3),
            "endedTime": at(2),
        },
    }
    for columns in good.values():
        await add_step(source, run, **columns)
    twice = await add_input(source, odd["no end"], data="2", time=at(0.1))
    homeless = await source.add(
        "AgentNodeExecution",
        agentGraphExecutionId=run,
        agentNodeId="gone",
        executionStatus="FAILED",
    )
    async with installation(stack, tmp_path) as place, place.worker():
        program = Program(tmp_path, place.settings.environment())
        strict = await imported(program, source)
        rows = await place.db.fetch("select status from node_execution order by 1")
        nearest = await imported(program, source, "--nearest")
        refused = await place.db.fetchval("select count(*) from refusal")

    reasons = {one["id"]: one["reason"] for one in strict["left_out"]}
    impossible = {spaced: "invalid_field", homeless: "unknown_block"}
    first_input = next(one for one in reasons if reasons[one] == "input_already_there")
    assert first_input != twice
    assert strict["equal"], strict["differing"]
    exact = odd.pop("never queued")
    assert reasons == {
        **dict.fromkeys((never_ended, named, worded, *odd.values()), "needs_nearest"),
        **impossible,
        first_input: "input_already_there",
    }
    assert sorted(row["status"] for row in rows) == sorted(
        [*(str(columns["executionStatus"]) for columns in good.values()), "FAILED"]
    )
    assert nearest["equal"], nearest["differing"]
    assert exact not in {one["id"] for one in nearest["differences"]}
    assert {one["id"] for one in nearest["left_out"]} == {*impossible, first_input}
    assert Counter(one["column"] for one in nearest["differences"]) == {
        "endedAt": 1,
        "id": 1,
        "stats": 1,
        "startedTime": 1,
        "endedTime": 2,
        "executionData": 1,
    }
    assert refused == 0


async def test_a_share_token_is_hashed_on_the_way(
    stack: Addresses, source: OriginalDatabase, tmp_path: Path
) -> None:
    """Its holder sees the outputs; the token itself is nowhere, and a deleted run is hidden."""
    token = "5f0e7c1a-3d0b-4c0e-9b1e-0c3f6f1d2a4b"  # noqa: S105 - of the tests only
    ended = {"executionStatus": "COMPLETED", "startedAt": at(1), "endedAt": at(9)}
    shared = await add_run(source, **ended, isShared=True, shareToken=token, sharedAt=at(20))
    deleted = await add_run(source, **ended, isDeleted=True, updatedAt=at(30))
    async with installation(stack, tmp_path) as place, place.worker():
        receipt = await imported(Program(tmp_path, place.settings.environment()), source)
        async with connected(place) as db:
            seen = await get_graph_execution_by_share_token(db, token)
            hidden = await get_graph_execution(db, "ada", deleted)
        commands = b"".join(record.value or b"" for record in await place.commands())

    assert (receipt["equal"], receipt["rows"]["runs"]) == (True, [2, 2])
    assert (seen and seen.id, hidden) == (shared, None)
    assert token.encode() not in commands
    assert sha256(token.encode()).hexdigest().encode() in commands
