"""CPU of applying a command as runs, tables, partitions and payloads grow.

    python -m bench.growth [--long] [--commands 24000] [--rounds 3] [--only SERIES ...] [--save]

Needs no Kafka: starts a Postgres of its own, and decodes, folds and commits batches of 2,000
commands, without publishing, as `bench/apply_side.py` does. Each point has a fresh schema; its
first batches, while all is cold, are left out, and figures are medians over rounds. `client` is the
CPU of the process, `backend` that of Postgres for its connection, both in µs a command, and `wal`
is in bytes a command. With --long there are more rows, and more commands for each point.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord

from bench import results
from bench.apply_cpu import BATCH, ROOT, WARM_UP, database
from bench.apply_side import Applier, as_record, resolve
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import COMMANDS

SERIES = {
    "steps of a run": (10, 100, 1_000, 5_000),
    "rows in the tables": (0, 1_000_000),
    "partitions": (1, 8, 24),
    "bytes of a payload": (260, 1_000, 4_000, 16_000),
}
MANY_ROWS = 10_000_000  # with --long
STEPS, PAYLOAD, PARTITIONS = 60, 260, 8  # by default
INTERLEAVED = 50  # runs, as far as they are short
FILLED = 500_000  # rows a statement

_FILL = """
insert into journal (graph_exec_id, seq, run_day, at, command_id, type, node_exec_id, name, data,
    source_partition, source_offset, source_index)
select gen_random_uuid(), 1, $1::timestamptz::date, $1, gen_random_uuid(), 'node.output_added',
       gen_random_uuid(), 'result', to_jsonb(repeat('x', 200)), i % 8, i, 0
  from generate_series($2::bigint, $3::bigint) i
"""
_FILL_STEPS = """
insert into node_execution (id, graph_exec_id, run_day, node_id, block_id, status, added_seq,
    added_time)
select gen_random_uuid(), gen_random_uuid(), $1::timestamptz::date, 'node', 'block', 'COMPLETED', 1,
       $1
  from generate_series($2::bigint, $3::bigint, 7) i
"""


def run(number: int, steps: int, payload: int, at: str) -> Iterator[dict[str, Any]]:
    """The commands of a run: six a step."""
    ids = (str(UUID(int=number << 64 | index)) for index in itertools.count(1))
    text = ("Straße " * (payload // 8 + 1))[: payload - 2]
    common = {"at": at, "user_id": f"user-{number % 1_000}", "graph_exec_id": next(ids)}

    def command(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "id": next(ids), **common, **fields}

    about = {"graph_id": "growing", "graph_version": 1, "starting_nodes": []}
    yield command("graph.create", **about)
    yield command("graph.start")
    for index in range(steps):
        step = next(ids)
        node = {"node_id": f"node-{index % 50}", "block_id": f"block-{index % 20}"}
        value = {"input_name": "in", "input_data": text, "new_node_exec_id": step}
        yield command("node.input", **node, **value)
        moves = {"QUEUED": {"execution_data": {"in": text}}, "RUNNING": {}}
        for status, fields in moves.items():
            yield command("node.update", node_exec_id=step, status=status, **fields)
        yield command("node.output", node_exec_id=step, output_name="out", output_data=text)
        stats = {"walltime": 1.25, "cost": 3}
        yield command("node.update", node_exec_id=step, status="COMPLETED", stats=stats)
        yield command("graph.update", stats={"node_count": index + 1})


def commands(count: int, steps: int, payload: int) -> Iterator[dict[str, Any]]:
    """`count` commands of runs that take turns."""
    at, numbers = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", itertools.count(1)
    turns = max(1, min(INTERLEAVED, count // (6 * steps)))
    under_way = [run(next(numbers), steps, payload, at) for _ in range(turns)]
    for index in itertools.islice(itertools.cycle(range(turns)), count):
        command = next(under_way[index], None)
        if command is None:
            under_way[index] = run(next(numbers), steps, payload, at)
            command = next(under_way[index])
        yield command


def batches(
    count: int, steps: int = STEPS, payload: int = PAYLOAD, partitions: int = PARTITIONS
) -> Iterable[list[ConsumerRecord]]:
    """Records in batches; a run belongs to a partition."""
    offsets: Counter[int] = Counter()
    now = int(datetime.now(UTC).timestamp() * 1000)
    records = []
    for command in commands(count, steps, payload):
        key = command["graph_exec_id"]
        number = (UUID(key).int >> 64) % partitions
        value = json.dumps(command, ensure_ascii=False, separators=(",", ":")).encode()
        records.append(as_record(COMMANDS.name, number, offsets[number], now, key.encode(), value))
        offsets[number] += 1
    return [records[at : at + BATCH] for at in range(0, count, BATCH)]


async def measure(
    dsn: str, schema: str, made: Iterable[list[ConsumerRecord]], rows: int = 0
) -> dict[str, float]:
    """µs a command by phase, and bytes of WAL."""
    await migrate(dsn, schema)
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    await _fill(connection, rows)
    applier = Applier(resolve(ROOT), COMMANDS.name, dsn, schema)
    made = list(made)
    await applier.claim({one.partition for batch in made for one in batch}, sum(map(len, made)))
    sums: Counter[str] = Counter()
    wal = 0
    for index, batch in enumerate(made):
        if index == WARM_UP:
            wal = await connection.fetchval("select pg_current_wal_lsn() - '0/0'")
        spent = await applier.apply(batch)
        if index >= WARM_UP:
            sums.update(spent)
    wal = await connection.fetchval("select pg_current_wal_lsn() - '0/0'") - wal
    await applier.close()
    await connection.execute(f"drop schema {schema} cascade")
    await connection.close()
    counted = sum(map(len, made[WARM_UP:]))
    found = {name: round(seconds / counted * 1e6, 2) for name, seconds in sums.items()}
    return found | {"wal": round(float(wal) / counted, 1)}


async def _fill(connection: asyncpg.Connection, rows: int) -> None:
    now = datetime.now(UTC)
    if rows:
        await connection.execute("select ensure_day($1)", now.date())
    for first in range(1, rows + 1, FILLED):
        last = min(first + FILLED - 1, rows)
        # Sources far beyond those that are measured.
        await connection.execute(_FILL, now, first + 10**9, last + 10**9)
        await connection.execute(_FILL_STEPS, now, first, last)


async def series(options: argparse.Namespace, dsn: str) -> dict[str, list[dict[str, Any]]]:
    """All points of all series."""
    count = options.commands * (3 if options.long else 1)
    points = dict(SERIES)
    if options.long:
        points["rows in the tables"] = (0, 1_000_000, MANY_ROWS)
    found: dict[str, list[dict[str, Any]]] = {}
    numbers = itertools.count(1)
    for name, values in points.items():
        if options.only and name not in options.only:
            continue
        measured: dict[int, list[dict[str, float]]] = {value: [] for value in values}
        # Ten million rows are not filled in three times.
        once = options.long and name == "rows in the tables"
        for _ in range(1 if once else options.rounds):
            for value, rounds in measured.items():
                rows = value if name == "rows in the tables" else 0
                made = batches(_enough(name, value, count), **_shape(name, value))
                rounds.append(await measure(dsn, f"growth{next(numbers)}", made, rows))
        for value, rounds in measured.items():
            middle = {one: statistics.median(r[one] for r in rounds) for one in rounds[0]}
            found.setdefault(name, []).append({"at": value, "us": middle})
            print(f"{name} {value:,}: {middle}", file=sys.stderr, flush=True)
    return found


def _shape(name: str, value: int) -> dict[str, int]:
    names = {
        "steps of a run": "steps",
        "partitions": "partitions",
        "bytes of a payload": "payload",
    }
    return {names[name]: value} if name in names else {}


def _enough(name: str, value: int, count: int) -> int:
    """Fewer commands where each is large."""
    return max(5 * BATCH, count * 260 // value) if name == "bytes of a payload" else count


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--commands", type=int, default=24_000, help="of each point")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=SERIES)
    parser.add_argument("--save", action="store_true", help="keep the figures for the manual")
    options = parser.parse_args()
    gc.freeze()  # this line and the next one as in `agents/worker.py`
    gc.set_threshold(100_000, 50, 100)
    with tempfile.TemporaryDirectory() as folder:
        async with database(Path(folder)) as dsn:
            found = await series(options, dsn)
    print(json.dumps({"load": os.getloadavg()[0], "us": found}, indent=1))
    if options.save:
        results.save("growth", found)


if __name__ == "__main__":
    asyncio.run(main())
