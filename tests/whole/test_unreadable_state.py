"""A worker that cannot read the stored state of a run, from that to its mending by an operator."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.devstack.ports import free_ports
from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import Installation, installation


@pytest.fixture
async def own(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as made:
        yield made


def begin(orders: Orders) -> list[Order]:
    """The first half of a run, on the first partition."""
    some = [orders.create(orders.node("n", inputs={"in": 1})), orders.start()]
    return [one._replace(partition=0) for one in some]


def end(orders: Orders) -> list[Order]:
    """The second half."""
    some = [orders.move_step("n", "RUNNING"), orders.emit("n", data=1), orders.move("COMPLETED")]
    return [one._replace(partition=0) for one in some]


def mixed(lives: list[list[Order]]) -> list[Order]:
    return [one for some in zip(*lives, strict=True) for one in some]


async def statuses(own: Installation) -> dict[str, str]:
    rows = await own.db.fetch("select id::text, status from graph_execution")
    return {row["id"]: row["status"] for row in rows}


CELLS = {
    "detail": ("detail = '[]'", 1),
    "type": ("type = 'UNKNOWN'", 2),
    "": ("node_exec_id = gen_random_uuid()", 5),  # readable, and of no step that there is
}


@pytest.mark.slow
@pytest.mark.parametrize("column", CELLS)
async def test_a_worker_sets_the_run_aside(own: Installation, tmp_path: Path, column: str) -> None:
    """Its commands wait in quarantine, which names the cell; other runs go on in order. When
    `verify` has mended the cell, `retry` applies them all."""
    [port] = free_ports(1)
    program = Program(tmp_path, own.settings_with(apply_port=port).environment())
    broken, others = Orders(), [Orders(), Orders()]
    runs = [others[0], broken, others[1]]
    async with own.worker():
        await own.put(mixed([begin(one) for one in runs]))
        await own.put([broken.move_step("n", "RUNNING", stats={"a": 1})._replace(partition=0)])
        await own.drained()
    change, seq = CELLS[column]
    await own.db.execute(
        f"update journal set {change} where graph_exec_id = $1 and seq = $2",
        broken.run_id,
        seq,
    )

    async with own.worker(apply_port=port):
        await own.put(mixed([end(one) for one in runs]))
        await own.drained()

        assert await statuses(own) == {
            **{one.run_id: "COMPLETED" for one in others},
            broken.run_id: "RUNNING",
        }
        [held] = (await program("quarantine", "list", "--json")).json_lines()
        assert (held["key"], held["waiting"]) == (broken.run_id, 2)
        error = held["detail"]["error"]
        assert f"journal entry {seq}" in error
        assert f"column {column}" in error if column else "column" not in error
        assert f"`execstream verify {broken.run_id}`" in error
        findings = (await program("doctor", "--json")).json_lines()
        rows = {one["part"]: one for one in findings if one["check"] == "rows"}
        stored, worker = rows["postgres"], rows["workers"]
        assert (stored["state"], broken.run_id in stored["found"]) == ("failed", True)
        assert f"journal entry {seq}" in stored["found"]
        assert f"execstream verify {broken.run_id}" in stored["remedy"]
        assert (worker["state"], f":{port} has met rows of 1 " in worker["found"]) == (
            "warning",
            True,
        )

        mended = await program("verify", "--all", "--mend", "--json")
        assert mended.json()["mended"] > 0
        released = await program("quarantine", "retry", broken.run_id, "--json")

    assert released.code == 0, released.err
    outcomes = [one["outcome"] for one in released.json_lines()]
    assert outcomes == ["refused", "applied", "applied"]  # it was moved to RUNNING before
    assert (await statuses(own))[broken.run_id] == "COMPLETED"
    assert (await program("quarantine", "list", "--json")).out == ""
    verified = (await program("verify", "--all", "--json")).json()
    assert [one for one in verified["differences"] if one["kind"] != "block_stats"] == []
    counts = await own.db.fetchrow(
        "select sum(applied), sum(quarantined), sum(next_offset) from consumer_offset"
    )
    assert (counts[0] + 1 + counts[1] == counts[2], counts[1]) == (True, 3)
