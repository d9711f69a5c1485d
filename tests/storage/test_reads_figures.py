"""Figures over many runs: block errors, costs, diagnostics."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from execstream import reads
from execstream.devstack import Addresses
from execstream.models import BlockErrorStats
from execstream.storage import connections
from execstream.storage.connections import FEED, READ, REPLAY, VERIFY, WRITE, Profile
from tests.storage.factories import DAWN, OWNER, Tables, at, fresh_tables

# As a database, a role or a DSN may have them.
ODD = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-5",
}


def oddly_set(dsn: str) -> str:
    """The DSN with settings that count before those of the database and the role."""
    options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in ODD.items())
    return f"{dsn}?{urlencode({'options': options})}"


@pytest.fixture(params=["plain", "odd"])
async def tables(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[Tables]:
    """Tables in sessions of a plain server, and of one with settings of its own."""
    dsn = stack.postgres_dsn
    async with fresh_tables(oddly_set(dsn) if request.param == "odd" else dsn) as fresh:
        yield fresh


@pytest.mark.parametrize(
    "profile", [READ, FEED, WRITE, VERIFY, REPLAY], ids=lambda profile: profile.application
)
async def test_sessions_have_settings_of_their_own(stack: Addresses, profile: Profile) -> None:
    """Neither the DSN nor, with less priority, the role or the database decides the meaning of
    texts.
    """
    async with connections.connection(oddly_set(stack.postgres_dsn), "odd", profile) as session:
        found = {name: await session.fetchval("select current_setting($1)", name) for name in ODD}
        text = await session.fetchval("select 0.1::float8 + 0.2::float8 || ' ' || interval '90 s'")

    assert found == {
        "timezone": "UTC",
        "datestyle": "ISO, MDY",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
    }
    assert text == "0.30000000000000004 00:01:30"


async def test_hours_and_minutes_of_figures_are_those_of_utc(tables: Tables) -> None:
    """A span covers the whole hour, or minute, of its start."""
    hour = DAWN.replace(minute=0)
    ids = (uuid4(), uuid4())
    await tables.db.execute(
        "insert into block_error values ($1, 0, 'b', 'f', 'other', 'trouble', 3, $2, $3, $1)",
        hour,
        *ids,
    )
    await tables.db.execute(
        "insert into block_minute values ($1, 0, 'b', 3, 3, 3, 3, 0, 0, 0, 0, '{}', '{}')",
        hour + timedelta(minutes=40),
    )
    start, end = hour + timedelta(minutes=40, seconds=20), hour + timedelta(hours=2)

    [error] = await reads.get_top_errors(tables.db, start, end)
    [figures] = await reads.get_block_figures(tables.db, start, end)

    assert (error.failures, error.graph_exec_id, error.last_at) == (3, ids[0], hour)
    assert (figures.block_id, figures.failed) == ("b", 3)
    assert await reads.get_top_errors(tables.db, start + timedelta(hours=1), end) == []


async def test_block_errors_count_steps_by_when_they_were_added(tables: Tables) -> None:
    """The span excludes its end; steps of any status count; the worst block comes first."""
    run_id, deleted = await tables.run(), await tables.run(is_deleted=True)
    for second in range(10):
        await tables.step(run_id, block_id="b1", added_time=at(second), status="QUEUED")
    await tables.step(run_id, block_id="b2", added_time=at(2), status="FAILED")
    await tables.step(deleted, block_id="b2", added_time=at(2), status="COMPLETED")
    await tables.step(run_id, block_id="rare", added_time=at(2), status="FAILED")

    found = await reads.get_block_error_stats(tables.db, at(2), at(9), min_executions=2)

    assert found == [
        BlockErrorStats(block_id="b2", total_executions=2, failed_executions=1),
        BlockErrorStats(block_id="b1", total_executions=7, failed_executions=0),
    ]
    assert [block.error_rate for block in found] == [50.0, 0.0]
    assert await reads.get_block_error_stats(tables.db, at(2), at(9)) == []


async def test_costs_add_up_per_graph_and_per_day(tables: Tables) -> None:
    """Dry runs and foreign runs are left out, deleted ones were paid for, odd costs count 0."""
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    dear = await tables.run(graph_id="g1", stats={"cost": 70, "walltime": 2.5})
    await tables.run(graph_id="g1", stats={"cost": 20}, is_deleted=True)
    failed = await tables.run(
        graph_id="g2", stats={"cost": 5}, status="FAILED", created_at=midnight
    )
    odd = [{"cost": "9"}, {"cost": 10**30}, {}, None]
    for stats in odd:
        await tables.run(graph_id="g2", stats=stats, created_at=midnight)
    await tables.run(stats={"cost": 1000}, dry_run=True)
    await tables.run(stats={"cost": 1000}, user_id="eve")
    await tables.run(stats={"cost": 1000}, created_at=DAWN + timedelta(days=9))

    summary = await reads.get_user_cost_summary(tables.db, OWNER, DAWN, DAWN + timedelta(days=9))

    assert (summary.executions, summary.cost) == (7, 95)
    assert (summary.failed_executions, summary.failed_cost) == (1, 5)
    assert [graph.model_dump() for graph in summary.by_graph] == [
        {"graph_id": "g1", "executions": 2, "cost": 90},
        {"graph_id": "g2", "executions": 5, "cost": 5},
    ]
    assert [day.model_dump() for day in summary.by_day] == [
        {"day": date(2026, 3, 1), "executions": 2, "cost": 90},
        {"day": date(2026, 3, 2), "executions": 5, "cost": 5},
    ]
    assert [run.graph_exec_id for run in summary.top_runs[:2]] == [dear, failed]
    assert (summary.top_runs[0].duration, summary.top_runs[0].cost) == (2.5, 70)


async def test_a_user_without_runs_costs_nothing(tables: Tables) -> None:
    """All zero, nothing listed."""
    summary = await reads.get_user_cost_summary(tables.db, OWNER, DAWN, at(1))

    assert (summary.executions, summary.cost) == (0, 0)
    assert [*summary.by_graph, *summary.by_day, *summary.top_runs] == []


async def test_diagnostics_forget_no_run_however_old(tables: Tables) -> None:
    """Stuck runs are reported after months; recent ends are counted by their hour and day."""
    now = await tables.db.fetchval("select now()")
    old, hours, minutes = (now - timedelta(days=90), now - timedelta(hours=2), now)
    running = await tables.run(status="RUNNING", created_at=old, started_at=old)
    await tables.run(status="RUNNING", created_at=hours, started_at=hours)
    await tables.run(status="RUNNING", created_at=minutes, started_at=minutes)
    await tables.run(status="RUNNING", created_at=minutes, ended_at=minutes)
    queued = await tables.run(status="QUEUED", created_at=old)
    await tables.run(status="REVIEW", created_at=old, started_at=old)
    await tables.run(status="QUEUED", created_at=old, is_deleted=True)
    await tables.run(status="COMPLETED", created_at=old, ended_at=hours)
    await tables.run(status="FAILED", created_at=old, ended_at=minutes)
    await tables.run(status="TERMINATED", created_at=old, ended_at=old)

    told = (await reads.get_execution_diagnostics(tables.db)).model_dump(exclude={"as_of"})

    assert told.pop("ended_per_hour") == 2 / 24
    assert told == {
        "running": 4,
        "queued": 1,
        "in_review": 1,
        "incomplete": 0,
        "oldest_running": old,
        "oldest_running_id": str(running),
        "oldest_queued": old,
        "oldest_queued_id": str(queued),
        "running_silent_1h": 2,
        "running_silent_24h": 1,
        "queued_silent_5m": 1,
        "queued_silent_1h": 1,
        "running_without_start": 1,
        "live_with_end": 1,
        "completed_1h": 0,
        "completed_24h": 1,
        "failed_1h": 1,
        "failed_24h": 1,
        "terminated_1h": 0,
        "terminated_24h": 0,
    }
