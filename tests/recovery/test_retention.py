"""Letting go of old days, beside workers that know runs of these days."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import Installation, Worker, until

OLD = datetime.now(UTC) - timedelta(days=3)  # has partitions of its own
OPEN = datetime.now(UTC) - timedelta(days=5)
ANCIENT = datetime(2025, 3, 1, 12, tzinfo=UTC)  # lies in the default partitions


@pytest.fixture(scope="module")
async def worker(place: Installation) -> AsyncIterator[Worker]:
    """Applies commands, and remembers the runs; another worker counts."""
    async with place.worker() as running:
        tally = await place.start_worker("tally")
        yield running
        await tally.stop()


def _life(orders: Orders, day: datetime, *, ends: bool = True) -> list[Order]:
    at = {"at": day.isoformat()}
    life = [
        orders.create(orders.node("n", inputs={"a": 1}), orders.node("m"), **at),
        orders.start(**at),
        orders.move_step("n", "RUNNING", **at),
        orders.emit("n", **at),
        orders.move_step("n", "COMPLETED", **at),
        orders.move_step("m", "FAILED", **at),
    ]
    return [*life, orders.move("COMPLETED", **at)] if ends else life


async def _plan(program: Program) -> dict[str, tuple[int, int, bool]]:
    """The plan by day: runs, open ones, and whether it can go."""
    days = (await program("retention", "plan", "--keep-days", "1", "--json")).json_lines()
    return {day["day"]: (day["runs"], day["open_runs"], day["can_go"]) for day in days}


async def _left(place: Installation, run_id: str) -> tuple[int, int, int]:
    """Entries, steps and errors of a run."""
    entries = await place.db.fetchval("select count(*) from journal where graph_exec_id=$1", run_id)
    steps = await place.db.fetchval(
        "select count(*) from node_execution where graph_exec_id = $1", run_id
    )
    errors = await place.db.fetchval(
        "select count(*) from run_error where graph_exec_id = $1", run_id
    )
    return entries, steps, errors


async def test_days_go_when_all_of_their_runs_have_ended(
    place: Installation, worker: Worker, program: Program
) -> None:
    """The others stay, with the reason. Runs keep their row, totals stay as they are, and a
    worker's cached state of a trimmed run is not used any more.
    """
    old, ancient, still_open = Orders(), Orders(), Orders()
    await place.put(_life(old, OLD) + _life(ancient, ANCIENT))
    await place.put(_life(still_open, OPEN, ends=False))
    await place.drained()
    days = {str(day.date()): day for day in (OLD, ANCIENT, OPEN)}

    async def is_read() -> bool:
        plan = await _plan(program)
        return {day for day, (_, _, can_go) in plan.items() if can_go} == {
            str(OLD.date()),
            str(ANCIENT.date()),
        }

    await until(is_read)
    plan = await _plan(program)
    assert {day: plan[day][:2] for day in days} == {
        str(OLD.date()): (1, 0),
        str(ANCIENT.date()): (1, 0),
        str(OPEN.date()): (1, 1),
    }
    shown = await program("retention", "plan", "--keep-days", "1")
    assert "stays: 1 runs have not ended" in shown.out
    totals = await place.db.fetch("select * from block_minute order by minute")

    went = await program("retention", "apply", "--keep-days", "1")

    assert (went.code, went.err) == (0, "")
    assert "2 days with 2 runs went" in went.out
    for orders in (old, ancient):
        assert await _left(place, orders.run_id) == (0, 0, 0)
        row = await place.db.fetchrow(
            "select status, trimmed_at from graph_execution where id = $1", orders.run_id
        )
        assert row["status"] == "COMPLETED"
        assert row["trimmed_at"] is not None
    assert (await _left(place, still_open.run_id))[1:] == (2, 1)
    assert await place.db.fetch("select * from block_minute order by minute") == totals
    shown = await program("show", old.run_id)
    assert "Retention dropped its steps" in shown.out
    assert (await program("show", old.run_id, "--json")).json()["trimmed_at"]
    child = f"journal_{OLD:%Y%m%d}"
    assert await place.db.fetchval("select to_regclass($1)", child) is None

    # The worker still remembers the step.
    late = old.move_step("n", "FAILED")
    share = old.order("graph.share", is_shared=True, share_token_hash="0" * 64)
    await place.put([late, share])
    await place.drained()
    assert worker.said("folded_again")
    [refusal] = await place.db.fetch(
        "select reason from refusal where graph_exec_id = $1", old.run_id
    )
    assert refusal["reason"] == "unknown_node_execution"
    assert (await _left(place, old.run_id)) == (1, 0, 0)
    assert await place.db.fetchval(
        "select is_shared from graph_execution where id = $1", old.run_id
    )


async def test_what_nobody_has_counted_stays(
    place: Installation, worker: Worker, program: Program
) -> None:
    """A day is kept while the tally has not read all of it."""
    assert worker.is_alive
    [tally] = [one for one in place.workers if one is not worker and one.is_alive]
    await tally.stop()
    orders = Orders()
    day = datetime.now(UTC) - timedelta(days=7)
    await place.put(_life(orders, day))
    await place.drained()
    assert (await _plan(program))[str(day.date())] == (1, 0, False)
    went = await program("retention", "apply", "--keep-days", "1", "--json")
    assert str(day.date()) not in {gone["day"] for gone in went.json_lines()}
    assert await _left(place, orders.run_id) == (10, 2, 0)
