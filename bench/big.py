"""Time of hot reads at 1,000,000 runs with 10,000,000 steps.

    python -m bench.big [--runs 1000000] [--repeat 60]

Starts servers of its own and fills 30 days by COPY, everything from one seed: a hundredth of the
runs has 60 steps and a journal, the others nine or ten steps and none. Owners are unequal: the
first has a hundredth of all runs. Then every read is repeated, models and all, with a warm cache.
Prints p50 and p95 in milliseconds, and the load average beside them. Needs some 15 GB of disk.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import asyncpg

from execstream import connect, devstack, reads
from execstream.dashboard.own_rows import OwnRows
from execstream.models import ExecutionStatus
from execstream.storage.reads import cursors
from execstream.storage.schema.migrate import migrate

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 30
OWNERS = 1_000
GRAPHS = 200
BLOCKS = 60
LONG = 60  # steps of a run with a journal
LONG_EVERY = 100  # runs
PAGE_SIZE = 25
CHUNK = 2_000  # lines
NULL = r"\N"

SCHEMA = "execstream"
RUN_COLUMNS = [
    "id", "user_id", "graph_id", "graph_version", "status", "inputs", "dry_run", "stats",
    "is_deleted", "is_shared", "created_at", "started_at", "ended_at", "updated_at", "last_seq",
    "source_partition",
]  # fmt: skip
STEP_COLUMNS = [
    "id", "graph_exec_id", "run_day", "node_id", "block_id", "status", "execution_data", "stats",
    "added_seq", "added_time", "queued_time", "started_time", "ended_time",
]  # fmt: skip
JOURNAL_COLUMNS = [
    "graph_exec_id", "seq", "run_day", "at", "command_id", "type", "node_exec_id", "name", "data",
    "detail", "was", "status", "source_partition", "source_offset", "source_index",
]  # fmt: skip
BLOCK_TYPES = {0: "INPUT", 1: "OUTPUT"}


class Run(NamedTuple):
    """A run to be written; `long` ones have a journal."""

    number: int
    id: str
    owner: str
    graph: int
    status: str
    at: datetime
    steps: int
    long: bool


class Past:
    """Thirty days of runs in the order of their creation; the same for the same seed."""

    def __init__(self, runs: int, seed: int = 4) -> None:
        self.runs = runs
        self._seed = seed
        self._gap = timedelta(days=DAYS) / runs
        draws = random.Random(f"{seed}/documents")  # noqa: S311 - nothing to guard
        self._stats = [_stats(draws) for _ in range(500)]
        self._data = [_data(draws) for _ in range(500)]

    def all_runs(self) -> Iterator[Run]:
        """Every run; may be asked for again."""
        draws = random.Random(self._seed)  # noqa: S311 - nothing to guard
        for number in range(self.runs):
            at = BEGIN + number * self._gap
            is_long = number % LONG_EVERY == 0
            yield Run(
                number=number,
                id=_id(at, draws),
                owner=f"owner{int(OWNERS * draws.random() ** 1.5)}",
                graph=draws.randrange(GRAPHS),
                status=_status(draws, is_young=number > self.runs * 0.995),
                at=at,
                steps=LONG if is_long else 9 + number % 2,
                long=is_long,
            )

    def run_lines(self) -> Iterator[str]:
        """Rows of `graph_execution`."""
        for run in self.all_runs():
            end = run.at + timedelta(seconds=40)
            yield _session(
                run.id, run.owner, f"graph{run.graph}", 1, run.status, self._document(run.number),
                "f", self._stats[run.number % 500], "f", "f", run.at, run.at,
                end if run.status in ("COMPLETED", "FAILED", "TERMINATED") else NULL,
                end, run.steps * 6, run.number % 8,
            )  # fmt: skip

    def step_lines(self) -> Iterator[str]:
        """Rows of `node_execution`."""
        draws = random.Random(f"{self._seed}/steps")  # noqa: S311 - nothing to guard
        for run in self.all_runs():
            day = run.at.date()
            for number in range(run.steps):
                added = run.at + timedelta(milliseconds=600 * number)
                yield _session(
                    _step_id(run, number), run.id, day, f"node{number}", _block(run, number),
                    "FAILED" if draws.random() < 0.04 else "COMPLETED",
                    self._document(run.number + number), self._stats[(run.number + number) % 500],
                    6 * number + 2, added, added, added, added + timedelta(seconds=2),
                )  # fmt: skip

    def journal_lines(self) -> Iterator[str]:
        """Rows of `journal`, of the long runs: inputs, outputs and changes of each step."""
        for run in self.all_runs():
            if not run.long:
                continue
            for number in range(run.steps):
                step_id = _step_id(run, number)
                at = run.at + timedelta(milliseconds=600 * number)
                for index, (kind, name, was, status) in enumerate(_ENTRIES):
                    seq = 6 * number + 2 + index
                    yield _session(
                        run.id, seq, run.at.date(), at, run.id, kind, step_id, name,
                        NULL if name == NULL else self._document(run.number + seq), NULL, was,
                        status, run.number % 8, run.number * 1_000 + seq, 0,
                    )  # fmt: skip

    def _document(self, number: int) -> str:
        return self._data[number % 500]


_ENTRIES = [
    ("node.added", NULL, NULL, "INCOMPLETE"),
    ("node.input_added", "text", NULL, NULL),
    ("node.updated", NULL, "INCOMPLETE", "QUEUED"),
    ("node.updated", NULL, "QUEUED", "RUNNING"),
    ("node.output_added", "result", NULL, NULL),
    ("node.updated", NULL, "RUNNING", "COMPLETED"),
]


def _id(at: datetime, draws: random.Random) -> str:
    """A UUIDv7."""
    milliseconds = int(at.timestamp() * 1000)
    return f"{milliseconds:012x}7{draws.getrandbits(12):03x}8{draws.getrandbits(60):015x}"


def _step_id(run: Run, number: int) -> str:
    return f"{run.id[:12]}7{number:03x}9{run.id[17:]}"


def _block(run: Run, number: int) -> str:
    return f"block{(run.graph + number * 7) % BLOCKS}"


def _status(draws: random.Random, *, is_young: bool) -> str:
    if is_young:
        return draws.choice(["COMPLETED", "RUNNING", "QUEUED", "REVIEW"])
    statuses = ("COMPLETED", "FAILED", "TERMINATED")
    return draws.choices(statuses, cum_weights=(93, 98, 100))[0]


def _stats(draws: random.Random) -> str:
    document = {
        "cost": draws.randrange(40),
        "walltime": round(draws.uniform(1, 60), 3),
        "cputime": round(draws.uniform(0, 5), 3),
        "node_count": 10,
        "node_error_count": 0,
        "input_token_count": draws.randrange(8_000),
        "output_token_count": draws.randrange(2_000),
    }
    return json.dumps(document)


def _data(draws: random.Random) -> str:
    words = " ".join("".join(draws.choices("aeinorst", k=6)) for _ in range(20))
    return json.dumps({"name": "answer", "value": words, "number": draws.random()})


def _session(*values: object) -> str:
    """A row in COPY's text format; no value holds a tab or a backslash."""
    return "\t".join(map(str, values)) + "\n"


async def _chunks(lines: Iterable[str]) -> AsyncIterator[bytes]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == CHUNK:
            yield "".join(batch).encode()
            batch.clear()
    yield "".join(batch).encode()


async def fill(db: asyncpg.Pool, past: Past) -> None:
    """Write everything, and let Postgres look at it as autovacuum would."""
    for day in range(DAYS):
        await db.execute("select ensure_day($1)", (BEGIN + timedelta(days=day)).date())
    await db.executemany(
        "insert into block values ($1, $1, $2)",
        [(f"block{n}", BLOCK_TYPES.get(n, "STANDARD")) for n in range(BLOCKS)],
    )
    tables = {
        "graph_execution": (RUN_COLUMNS, past.run_lines()),
        "node_execution": (STEP_COLUMNS, past.step_lines()),
        "journal": (JOURNAL_COLUMNS, past.journal_lines()),
    }
    async with db.acquire() as connection:
        for table, (columns, lines) in tables.items():
            began = time.monotonic()
            done = await connection.copy_to_table(
                table, schema_name=SCHEMA, columns=columns, source=_chunks(lines), timeout=3600
            )
            await connection.execute(f"vacuum (analyze) {table}", timeout=3600)
            _say(f"{table}: {done}, {time.monotonic() - began:.0f} s")


# As the tally would have counted it.
_TOTALS = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, published_offset)
select consumer, consumer, 0, 1, 1, max(source_offset)
  from journal, unnest(array['apply', 'tally']) as consumer group by consumer;
insert into block_minute
select date_trunc('minute', added_time), 0, block_id, count(*),
       count(*) filter (where status = 'FAILED'), 0, 0, 0, 0, 0, 0, '{}', '{}'
  from node_execution group by 1, 3;
insert into block_hour
select date_trunc('hour', minute, 'UTC'), 0, block_id, sum(added), sum(added_failed)
  from block_minute group by 1, 3;
"""


async def add_totals(db: asyncpg.Pool) -> None:
    """Count every step, by minute and by hour."""
    began = time.monotonic()
    async with db.acquire() as connection:
        await connection.execute(_TOTALS, timeout=3600)
        for table in ("block_minute", "block_hour"):
            await connection.execute(f"vacuum (analyze) {table}", timeout=3600)
    _say(f"totals: {time.monotonic() - began:.0f} s")


Read = Callable[[], Awaitable[object]]


async def hot_reads(db: asyncpg.Pool, past: Past) -> dict[str, Read]:
    """Each hot read by its name."""
    end = BEGIN + timedelta(days=DAYS)
    deep = await db.fetchrow(
        "select created_at, id from graph_execution order by created_at, id offset $1 limit 1",
        PAGE_SIZE,
    )
    cursor = cursors.encode(deep["created_at"], deep["id"])
    heavy, busy = "owner0", await _longest_run(past)
    month = (BEGIN, end)
    return {
        "first page": lambda: reads.list_graph_executions(db, limit=PAGE_SIZE),
        "first page of an owner": lambda: reads.list_graph_executions(db, user_id=heavy),
        "last page by keyset": lambda: reads.list_graph_executions(
            db, cursor=cursor, limit=PAGE_SIZE
        ),
        "run of 60 steps": lambda: reads.get_graph_execution(db, busy.owner, busy.id, True),
        "count of an owner's failed runs in 10 days": lambda: reads.get_graph_executions_count(
            db,
            heavy,
            statuses=[ExecutionStatus.FAILED],
            created_time_gte=end - timedelta(days=10),
        ),
        "count of an owner's runs": lambda: reads.get_graph_executions_count(db, heavy),
        "block errors over 24 h": lambda: reads.get_block_error_stats(
            db, end - timedelta(days=2), end - timedelta(days=1)
        ),
        "block errors over 24 h, to the second": lambda: reads.get_block_error_stats(
            db, end - timedelta(days=2, seconds=1), end - timedelta(days=1, seconds=1)
        ),
        "block errors over 1 h": lambda: reads.get_block_error_stats(
            db, end - timedelta(hours=2), end - timedelta(hours=1)
        ),
        "cost of the heaviest owner, 30 days": lambda: reads.get_user_cost_summary(
            db, heavy, *month
        ),
        "diagnostics": lambda: reads.get_execution_diagnostics(db),
    }


def own_reads(db: asyncpg.Pool) -> dict[str, Read]:
    """Lists of the heaviest owner as the server reads them with strict tenancy, also without a
    condition on the owner.
    """
    own = OwnRows(db, SimpleNamespace(bound_to="owner0"))
    return {
        "first page of an owner, row security": lambda: reads.list_graph_executions(
            own, user_id="owner0", limit=PAGE_SIZE
        ),
        "first page, row security alone": lambda: reads.list_graph_executions(own, limit=PAGE_SIZE),
    }


async def _longest_run(past: Past) -> Run:
    return next(run for run in past.all_runs() if run.long and run.number > past.runs // 2)


async def measure(read: Read, repeat: int) -> dict[str, float]:
    """p50 and p95 in milliseconds, after some rounds that warm the cache."""
    times = []
    for round_ in range(-3, repeat):
        began = time.perf_counter()
        await read()
        if round_ >= 0:
            times.append((time.perf_counter() - began) * 1000)
    quantiles = statistics.quantiles(times, n=20)
    return {"p50_ms": round(quantiles[9], 2), "p95_ms": round(quantiles[18], 2)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=60)
    options = parser.parse_args()
    past = Past(options.runs)
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            await migrate(stack.postgres_dsn)
            db = await connect(stack.postgres_dsn)
            await fill(db, past)
            await add_totals(db)
            await migrate(stack.postgres_dsn, with_roles=True, with_row_security=True)
            for name, read in (await hot_reads(db, past) | own_reads(db)).items():
                figures: dict[str, Any] = {"read": name, **await measure(read, options.repeat)}
                print(json.dumps(figures | {"load": round(os.getloadavg()[0], 1)}), flush=True)
            await db.close()
        finally:
            await stack.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
