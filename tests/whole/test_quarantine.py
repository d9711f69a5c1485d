"""A record that kills each worker that applies it, from its first victim to its release by an
operator.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import QUICK, Installation, installation, until

MOST_DEATHS = 3


@pytest.fixture
async def own(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as made:
        yield made


def life(orders: Orders, note: str = "") -> list[Order]:
    """A run of four commands on the first partition."""
    some = [
        orders.create(orders.node("n", inputs={"in": 1})),
        orders.start(),
        orders.move_step("n", "RUNNING", stats={"note": note}),
        orders.move("COMPLETED"),
    ]
    return [one._replace(partition=0) for one in some]


async def outlive(own: Installation, records: int) -> int:
    """Start workers, each when the last one has died, until `records` are committed; how many
    died."""
    for deaths in range(MOST_DEATHS + 1):
        worker = await own.start_worker("apply", program="tests.whole.deadly_worker", timing=QUICK)

        async def is_over(deaths: int = deaths) -> bool:
            done = await own.db.fetchval("select sum(next_offset)::int from consumer_offset")
            return done == records or not own.workers[deaths].is_alive

        await until(is_over, 120)
        if worker.is_alive:
            await worker.stop()
            return deaths
    raise AssertionError("The workers do not stop dying.")


@pytest.mark.slow
async def test_a_record_that_kills_workers(own: Installation, tmp_path: Path) -> None:
    """The loop ends after two deaths; others of its batch are applied; `doctor` names the record
    and the way out, `verify` and `replay` agree, and `retry` applies the run in order."""
    program = Program(tmp_path, own.settings.environment())
    deadly, others = Orders(), [Orders(), Orders()]
    lives = [life(others[0]), life(deadly, "deadly"), life(others[1])]
    await own.put([one for some in zip(*lives, strict=True) for one in some])

    deaths = await outlive(own, 12)

    assert deaths <= MOST_DEATHS
    print(f"deaths: {deaths}")
    [held] = (await program("quarantine", "list", "--json")).json_lines()
    assert (held["key"], held["partition"], held["waiting"]) == (deadly.run_id, 0, 1)
    statuses = await own.db.fetch("select id::text, status from graph_execution")
    assert {row["id"]: row["status"] for row in statuses} == {
        **{one.run_id: "COMPLETED" for one in others},
        deadly.run_id: "RUNNING",
    }
    story = (await program("explain", deadly.run_id, "--json")).json()
    assert [line["outcome"] for line in story["lines"]][-2:] == ["quarantined", "quarantined"]
    findings = (await program("doctor", "--json")).json_lines()
    [found] = [one for one in findings if one["check"] == "quarantine"]
    assert f"0/{held['offset']}" in found["found"]
    assert f"execstream quarantine retry {deadly.run_id}" in found["remedy"]
    await assert_provable(program, "while_held")

    async with own.worker():
        released = await program("quarantine", "retry", deadly.run_id, "--json")

    assert released.code == 0, released.err
    assert [one["outcome"] for one in released.json_lines()] == ["applied", "applied"]
    assert (await program("show", deadly.run_id, "--json")).json()["status"] == "COMPLETED"
    assert (await program("quarantine", "list", "--json")).out == ""
    await assert_provable(program, "when_released")


async def assert_provable(program: Program, schema: str) -> None:
    """Assert that stored rows follow from the topics, except for the positions in quarantine."""
    replayed = await program("replay", "--into", schema, "--json")
    assert replayed.code == 0, replayed.err
    assert replayed.json_lines()[-1]["equal"]
    verified = (await program("verify", "--all", "--json")).json()
    kinds = {one["kind"] for one in verified["differences"]}
    assert not kinds & {"journal", "graph_execution", "node_execution", "dead_letter", "refusal"}


@pytest.mark.slow
@pytest.mark.promise
async def test_skipping(own: Installation, tmp_path: Path) -> None:
    """The record becomes a dead letter, and the records behind it are applied."""
    program = Program(tmp_path, own.settings.environment())
    deadly = Orders()
    await own.put(life(deadly, "deadly"))
    await outlive(own, 4)

    async with own.worker():
        released = await program("quarantine", "skip", deadly.run_id)
        unknown = await program("quarantine", "skip", deadly.run_id)

    assert released.code == 0, released.err
    assert (unknown.code, "quarantine list" in unknown.err) == (1, True)
    assert await own.db.fetchval("select reason from dead_letter") == "quarantined"
    assert await own.db.fetchval("select status from graph_execution") == "COMPLETED"
    await assert_provable(program, "when_skipped")
