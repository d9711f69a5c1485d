"""Import of 1,000,000 rows in the original's shape, killed five times in the middle.

    python -m bench.moving_in [--rows 1000000] [--kills 5]

Starts servers, and workers of all roles, fills tables of the original's up to now, kills the import
with SIGKILL after equal shares of its commands, and lets the last one end. Prints one JSON object
with the receipt, the commands applied per second of import, alerts, outcomes, and the load average;
the exit code is 1 unless all rows are equal, nothing was refused and there is no alert.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from execstream import devstack
from tests.recovery.original_tables import ROWS_OF_A_RUN, OriginalDatabase, original
from tests.whole.program import Program
from tests.worker import Installation, installation, until

STEP = timedelta(seconds=100)  # between runs
COMMANDS_OF_A_RUN = 39
ALL_FAIL = """
update "AgentNodeExecution" set "executionStatus" = 'FAILED' where "agentNodeId" = 'node-3'
"""
OUTCOMES = """
select sum(applied)::int as applied, sum(duplicate)::int as duplicate,
       sum(refused)::int as refused, sum(dead)::int as dead
  from consumer_offset where consumer = 'apply'
"""


async def fill(source: OriginalDatabase, runs: int) -> None:
    """Make runs up to now; each third step of a run fails."""
    first = datetime.now(UTC).replace(tzinfo=None) - runs * STEP
    await source.fill(1, runs, first=str(first), step=f"{STEP.seconds} s")
    await source.db.execute(ALL_FAIL)
    await source.db.execute("analyze")


async def run_until(
    program: Program, source: OriginalDatabase, is_enough: Callable[[], Awaitable[bool]]
) -> float:
    """Run an import and kill it; seconds."""
    begun = time.monotonic()
    async with program.running("import", "--from", source.dsn, "--json") as process:
        await until(is_enough, patience=600)
        process.kill()
        await process.wait()
    return time.monotonic() - begun


async def run_to_the_end(program: Program, source: OriginalDatabase) -> dict[str, Any]:
    """The receipt of an import."""
    async with program.running("import", "--from", source.dsn, "--json") as process:
        told, complaint = await process.communicate()
    if complaint:
        sys.exit(complaint.decode())
    receipt: dict[str, Any] = json.loads(told)
    return receipt


async def measure(place: Installation, source: OriginalDatabase, runs: int, kills: int) -> bool:
    """Import with kills; print the figures; return whether they are as they must be."""

    async def applied() -> int:
        return int((await place.db.fetchrow(OUTCOMES))["applied"] or 0)

    async def settled() -> bool:
        return not await place.db.fetchval(
            """select exists (select from consumer_offset a join consumer_offset t
                   using (partition) where a.consumer = 'apply' and t.consumer = 'tally'
                    and (a.published_offset, a.published_index)
                        is distinct from (t.published_offset, t.published_index))"""
        )

    program = Program(place.folder, place.settings.environment())
    seconds = []
    for number in range(1, kills + 1):
        share = runs * COMMANDS_OF_A_RUN * number // (kills + 1)

        async def is_enough(share: int = share) -> bool:
            return await applied() >= share

        seconds.append(await run_until(program, source, is_enough))
        print(f"Killed after {seconds[-1]:.1f} s, {await applied():,} applied", file=sys.stderr)
    begun = time.monotonic()
    receipt = await run_to_the_end(program, source)
    compared = time.monotonic() - begun - receipt["seconds"]
    sending = sum(seconds) + receipt["seconds"]
    await until(settled, patience=600)
    outcomes = dict(await place.db.fetchrow(OUTCOMES))
    alerts = await place.db.fetchval("select count(*) from alert")
    lists = ("left_out", "differences", "differing")
    print(
        json.dumps(
            {name: found for name, found in receipt.items() if name not in lists}
            | outcomes
            | {
                "alerts": alerts,
                "kills_after": [round(one, 1) for one in seconds],
                "seconds_of_all": round(sending, 1),
                "applied_per_second": round(outcomes["applied"] / sending),
                "seconds_of_comparison": round(compared, 1),
                "load": os.getloadavg(),
            }
        ),
        flush=True,
    )
    bad = outcomes["refused"] + outcomes["dead"] + alerts
    return bool(receipt["equal"] and not bad and not any(receipt["counts"].values()))


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    runs = round(options.rows / ROWS_OF_A_RUN)
    async with AsyncExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        stack = await devstack.start(folder / "stack")
        ending.push_async_callback(stack.stop)
        source = await ending.enter_async_context(original(stack.postgres_dsn))
        await fill(source, runs)
        place = await ending.enter_async_context(installation(stack, folder))
        await ending.enter_async_context(place.worker())
        for role in ("tally", "bridge"):
            worker = await place.start_worker(role)
            ending.push_async_callback(worker.stop)
        return 0 if await measure(place, source, runs, options.kills) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
