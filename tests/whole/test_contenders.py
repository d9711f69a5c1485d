"""The contenders of the bench do the work they are measured for."""

from pathlib import Path

import msgspec
import pytest

from bench.contenders import small_schema
from bench.contenders.contender import Job, write_records
from bench.contenders.small_machine import SmallMachine
from bench.report import NAMES, aims_table, comparison_table
from bench.rounds import check_events, digest, drain_with, outcomes
from bench.stage import fill, simulated
from execstream.devstack import Addresses
from execstream.workload.simulation import Sent
from tests.worker import Installation, installation

RECORDS = 3_000


async def test_the_ceiling_leaves_the_rows_of_the_product(stack: Addresses, tmp_path: Path) -> None:
    """B4J leaves the same rows and offsets as a worker, and an event for each entry."""
    records = simulated(RECORDS, "field")
    async with installation(stack, tmp_path) as product, product.worker():
        await fill(product.settings, records)
        await product.drained()
        expected = await digest(product.settings)
        counts = await outcomes(product.settings)
    async with installation(stack, tmp_path) as bare:
        ends = await fill(bare.settings, records)
        await drain_with("b4j_bare_journal", bare.settings, Job(RECORDS, ends))
        assert await digest(bare.settings) == expected
        assert await outcomes(bare.settings) == counts
        await check_events(bare.settings, ends)
    assert all(count > 0 for count, _ in expected.values())
    assert min(counts.dead, counts.refused, counts.duplicate) > 0


@pytest.mark.slow
@pytest.mark.parametrize("module", ["b0_one_call", "b1_stock_faust", "b4_bare_small"])
async def test_a_small_contender_leaves_the_expected_rows(
    module: str, stack: Addresses, tmp_path: Path
) -> None:
    """Calls in SQL and the fold in memory come to the same runs, steps and values."""
    records = simulated(RECORDS, "field")
    machine = SmallMachine()
    for _, value in records:
        machine.apply(value)
    async with installation(stack, tmp_path) as own:
        await own.db.execute(small_schema.TABLES)
        await drain_with(module, own.settings, await _job(own, module, tmp_path, records))
        async with own.db.acquire() as connection:
            final = machine.final()
            assert await small_schema.find_difference(connection, final) is None
            await connection.execute("update small_step set status = 'REVIEW'")
            assert "steps: " in str(await small_schema.find_difference(connection, final))
    assert len(final.runs) > 10
    assert len(final.values) > RECORDS / 5


async def _job(own: Installation, module: str, folder: Path, records: list[Sent]) -> Job:
    if module != "b0_one_call":
        return Job(RECORDS, await fill(own.settings, records))
    file = folder / "records"
    write_records(file, records)
    return Job(RECORDS, records=str(file), callers=4)


def test_the_manual_is_made_of_saved_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians are between the least and the most, and a missed aim is marked."""
    rounds = {
        name: [
            {"rate": rate, "cpu": {"worker": 50.0, "Postgres": 25.5}, "memory": {"worker": 300}}
            for rate in (9_000.0, 12_000.0, 15_000.0)
        ]
        for name in NAMES
    }
    begun = dict.fromkeys(
        ("taken", "version", "cores", "processor", "memory", "system", "python", "load"), "1"
    )
    figures = {"rounds": rounds, "begun": begun, "seed": 1, "failed": {}, "latency": []}
    saved = msgspec.json.decode(msgspec.json.encode({"figures": figures}))
    monkeypatch.setattr("bench.report.compared", lambda: saved)
    table = list(comparison_table())
    assert sum("12,000 (9,000–15,000) | 3 | 1.00 × | 76 (76–76) |" in row for row in table) == 10
    aims = list(aims_table())
    assert "| everything running ≥ 20,000 commands/s | 12,000 | no |" in aims
    assert "| `apply` alone ≥ 0.8 × B4J | 1.00 | yes |" in aims
