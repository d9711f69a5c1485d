"""Time of a page of a run of 10,000 steps, as of any moment of its life.

    python -m bench.as_of [--steps 10000] [--pages 200] [--limit 25] --stack STACK_JSON

The run is made by the rules, in a schema of its own that is dropped afterwards: each step gets two
inputs, runs, emits twice and ends, with up to 50 of them in flight at once. Moments and cursors are
drawn evenly over its entries and its steps. Load average is printed beside.
"""

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from execstream.devstack import Addresses
from execstream.models import ExecutionStatus
from execstream.reads import find_past, get_graph_execution_as_of, list_steps_as_of
from tests.orders import Order, Orders
from tests.storage.factories import fresh_tables
from tests.storage.histories import history

BATCH = 2_000  # commands
UNDER_WAY = 50  # steps
VALUE = "x" * 200

Ask = Callable[[random.Random], Awaitable[object]]


def commands(orders: Orders, steps: int) -> list[Order]:
    """The life of a run."""
    made = [orders.create(), orders.start()]
    for number in range(steps + UNDER_WAY):
        if number < steps:
            name = f"n{number}"
            made += [orders.give(name, "in", VALUE), orders.give(name, "more", VALUE)]
            made += [orders.move_step(name, "QUEUED"), orders.move_step(name, "RUNNING")]
        if number >= UNDER_WAY:
            name = f"n{number - UNDER_WAY}"
            made += [orders.emit(name, data=VALUE), orders.emit(name, data=VALUE)]
            made.append(orders.move_step(name, "COMPLETED", stats={"walltime": 1.5}))
    return [*made, orders.move("COMPLETED", stats={"cost": 3})]


async def measured(chance: random.Random, pages: int, ask: Ask) -> tuple[float, float, float]:
    """p50, p95 and the slowest, in milliseconds."""
    took = []
    for _ in range(pages):
        began = time.perf_counter()
        await ask(chance)
        took.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(took, n=20, method="inclusive")
    return statistics.median(took), cuts[-1], max(took)


async def measure(db: asyncpg.Pool, run_id: str, owner: str, args: argparse.Namespace) -> None:
    last = await db.fetchval("select last_seq from graph_execution where id = $1", run_id)
    print(f"{args.steps:,} steps, {last:,} entries, pages of {args.limit}")

    async def page(chance: random.Random, **filters: Any) -> None:
        seq = chance.randint(1, last)
        past = await find_past(db, run_id, seq)
        if past is None:
            raise LookupError(seq)
        await list_steps_as_of(db, past, after=chance.randint(0, seq), limit=args.limit, **filters)

    async def by_status(chance: random.Random) -> None:
        await page(chance, statuses=[ExecutionStatus.RUNNING])

    async def bare(chance: random.Random) -> None:
        await page(chance, with_values=False)

    async def whole(chance: random.Random) -> None:
        await get_graph_execution_as_of(db, owner, run_id, chance.randint(1, last))

    cases: dict[str, tuple[Ask, int]] = {
        "page": (page, args.pages),
        "page without values": (bare, args.pages),
        "page of RUNNING": (by_status, args.pages),
        "whole run": (whole, 10),
    }
    for name, (ask, count) in cases.items():
        p50, p95, most = await measured(random.Random(1), count, ask)  # noqa: S311
        load = os.getloadavg()[0]
        print(
            f"{name:20} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  max {most:7.1f} ms  load {load:.1f}"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--limit", type=int, default=25)
    parser.add_argument("--stack", type=Path, required=True)
    args = parser.parse_args()
    dsn = Addresses.read(args.stack).postgres_dsn
    async with fresh_tables(dsn) as tables:
        schema = await tables.db.fetchval("select current_schema()")
        orders = Orders()
        records = commands(orders, args.steps)
        async with history(dsn, schema) as past:
            for first in range(0, len(records), BATCH):
                batch = records[first : first + BATCH]
                await past.take((order.key, order.value) for order in batch)
        await tables.db.execute("analyze journal")
        await measure(tables.db, orders.run_id, orders.user_id, args)


if __name__ == "__main__":
    asyncio.run(main())
