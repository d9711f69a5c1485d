"""The tally as a process: what it shows, what a restart leaves, and what kills do not change."""

from pathlib import Path

import pytest

from agents.tally import page
from devstack import Addresses
from devstack.ports import free_ports
from storage.block_figures import get_block_figures, get_top_errors
from storage.connect import connect
from tests.agents import tallied, torturing
from tests.orders import DAWN, Orders
from tests.worker import Installation, Worker, installation, until

SESSION = 6.0  # seconds; the least a broker allows


async def begun(place: Installation, port: int = 0) -> Worker:
    """A tally worker that owns its partitions; whoever begins it stops it."""
    worker = await place.start_worker("tally", session_timeout=SESSION, http_port=port)

    async def owns() -> bool:
        assert worker.is_alive, worker.log()[-5:]
        return bool(worker.said("owns"))

    await until(owns)
    return worker


async def test_what_happened_is_told_everywhere(stack: Addresses, tmp_path: Path) -> None:
    """Totals in Postgres, the worker's pages and the topic agree with the rows; after kill -9 a
    new worker begins with all of it and goes on."""
    orders, [port] = Orders(), free_ports(1)
    async with installation(stack, tmp_path) as place, place.worker():
        first = await begun(place)
        try:
            await place.put([orders.create(), orders.start(), orders.give("a"), orders.give("b")])
            await place.put([orders.move_step("a", "RUNNING"), orders.move_step("b", "RUNNING")])
            await place.put([orders.move_step("a", "COMPLETED", stats={"cost": 7})])
            await place.drained()
            await place.events()
            await tallied.counted(place)
        finally:
            await first.kill()
        second = await begun(place, port)
        try:
            await place.put([orders.move_step("b", "FAILED", stats={"error": "HTTP 503"})])
            await place.drained()
            await place.events()
            await tallied.counted(place)
            wrong = await tallied.differences(place)
            totals, nodes = await tallied.totals(place), await tallied.node_totals(place)

            async def shown(path: str, *keys: str) -> tallied.Figures:
                _, entries = await tallied.live(path, [port])
                return tallied.summed(entries, *keys)

            for name, expected, found in (
                ("blocks", totals, lambda: shown(page.BLOCKS, "block_id")),
                ("nodes", nodes, lambda: shown(page.NODES, "graph_id", "node_id")),
                ("topic", totals, lambda: tallied.published(place)),
            ):
                wrong += await tallied.eventually_equal(name, expected, found)
        finally:
            code = await second.stop()

    assert not wrong
    assert totals["block",] == (2, 1, 2, 1, 0, 4_000, 7)
    assert code == 0


async def test_figures_of_blocks_are_read_from_the_totals(stack: Addresses, tmp_path: Path) -> None:
    """With quantiles of durations, and with the last run that failed for each kind of error."""
    orders = Orders()
    async with installation(stack, tmp_path) as place, place.worker():
        worker = await begun(place)
        try:
            await place.put([orders.create(), orders.give("a"), orders.move_step("a", "RUNNING")])
            stats = {"cost": 7, "error": "HTTP 429 for 17"}
            await place.put([orders.move_step("a", "FAILED", stats=stats)])
            await place.drained()
            await place.events()
            await tallied.counted(place)
        finally:
            await worker.stop()
        db = await connect(stack.postgres_dsn, place.config.schema)
        try:
            end = DAWN.replace(hour=8)
            [block] = await get_block_figures(db, DAWN, end)
            [error] = await get_top_errors(db, DAWN, end, "block")
        finally:
            await db.close()

    assert (block.added, block.ended, block.failed, block.cost) == (1, 1, 1, 7)
    assert block.error_rate == 100
    assert block.p99_ms == pytest.approx(1_000, rel=0.02)
    assert block.error_classes == {"quota": 1}
    assert (error.masked, error.failures) == ("HTTP <n> for <n>", 1)
    assert str(error.graph_exec_id) == orders.run_id


@pytest.mark.slow
async def test_nothing_is_counted_twice_and_nothing_left_out(
    stack: Addresses, tmp_path: Path
) -> None:
    """Under 1,000 commands/s two workers are killed, stopped beyond their session, and told old
    events again: in the end rows, journal, totals, tables and topic agree."""
    outcome = await torturing.torture(stack, tmp_path, torturing.SHORT, seed=1)

    assert not outcome.wrong
    assert outcome.events > outcome.acknowledged > 0
