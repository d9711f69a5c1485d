"""Events that a tally worker counts per second of its CPU, and the time until it is ready.

    python -m bench.tally [--events 300000] [--keys 0 100000] [--stack STACK_JSON]

Events are those of simulated runs, made by the rules and put on the topic beforehand; a worker of
its own then drains them. The figures count only because the totals are compared with the number
of events of each kind afterwards. For `ready`, tables of so many keys are made in Postgres and the
worker is killed with SIGKILL and started again in a group that has forgotten it; measured is from
the start of the process until it owns its partitions with all keys in its tables. CPU is the
worker's own, without Kafka and Postgres; load average is printed beside.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from execstream import devstack
from execstream.kafka.producer import BulkProducer
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.events import encode_event, run_event
from execstream.streams.fold import fold
from execstream.streams.partitions import partition_of
from execstream.streams.state import Run
from execstream.streams.topics import EVENTS
from execstream.workload.simulation import load_graphs, simulate
from tests.worker import QUICK, SESSION, Installation, Worker, installation, until

GRAPHS = Path(__file__).parent.parent / "examples" / "graphs"

_KEYS = """
insert into node_total
select number % 8, 'graph', 'node-' || number, 0, 0, '2026-03-01', 1, 0, 1, 0, 0, 100, 5, 7
  from generate_series(1, $1::int / 2) number
"""
_BLOCK_KEYS = """
insert into block_total
select number % 8, 'block-' || number, 0, 0, '2026-03-01 06:30Z', 1, 0, 1, 0, 0, 100, 5, 7
  from generate_series(1, $1::int / 2) number
"""
_DAYS = """
insert into node_day
select newest, source_partition, graph_id, node_id, 1, 0, 1, 0, 0, 100, 5, 7 from node_total
"""
_MINUTES = """
insert into block_minute
select newest, source_partition, block_id, 1, 0, 1, 0, 0, 100, 5, 7, '{"300": 1}', '{}'
  from block_total
"""


async def preload(place: Installation, count: int) -> Counter[str]:
    """Put the events of simulated runs on the topic; return the number of each kind."""
    runs: dict[str, Run] = {}
    offsets: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    records = simulate(load_graphs(GRAPHS), runs=count, seed=1, start=datetime.now(UTC))
    async with BulkProducer(place.settings.kafka, place.topic(EVENTS.name)) as producer:
        for key, value in records:
            command = decode(key, value)
            partition = partition_of(key, EVENTS.partitions)
            offset = offsets[partition]
            offsets[partition] += 1
            if not isinstance(command, RunCommand):
                continue
            result = fold(runs.get(command.graph_exec_id), command, partition)
            if not isinstance(result, tuple):
                continue
            run, entries = result
            runs[run.id] = run
            for index, entry in enumerate(entries):
                event = run_event(run, entry, (partition, offset, index))
                await producer.add(key, encode_event(event), partition)
                kinds[f"{event.type} {event.status}"] += 1
            if kinds.total() >= count:
                break
    return kinds


async def drain(place: Installation, kinds: Counter[str]) -> dict[str, float]:
    """Have a worker count the events on the topic."""
    worker = await place.start_worker("tally", timing=QUICK)
    process = psutil.Process(worker.process.pid)
    try:
        await until(lambda: _owns(worker))
        begun, cpu = time.monotonic(), sum(process.cpu_times()[:2])
        await until(lambda: _counted(place, kinds.total()), patience=300)
        seconds, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - cpu
        memory = process.memory_info().rss
    finally:
        await worker.stop()
    [found] = await place.db.fetch(
        """select sum(added) as added, sum(ended + cascaded) as ended,
                  sum(added_failed) as failed from block_minute"""
    )
    failed = kinds["node.updated FAILED"]
    ended = failed + kinds["node.updated COMPLETED"]
    added = kinds["node.added QUEUED"] + kinds["node.added INCOMPLETE"]
    _verify(tuple(found) == (added, ended, failed), f"{dict(found)} from {dict(kinds)}")
    return {
        "events": kinds.total(),
        "events_per_second": kinds.total() / seconds,
        "events_per_cpu_second": kinds.total() / used,
        "microseconds_per_event": used / kinds.total() * 1e6,
        "megabytes": memory / 1e6,
    }


async def ready(place: Installation, keys: int) -> dict[str, float]:
    """Start with `keys` table keys, after a kill."""
    for table in ("node_total", "block_total", "node_day", "block_minute"):
        await place.db.execute(f"truncate {table}")
    for statement in (_KEYS, _BLOCK_KEYS):
        await place.db.execute(statement, keys)
    for statement in (_DAYS, _MINUTES, "analyze"):
        await place.db.execute(statement)
    first = await place.start_worker("tally", timing=QUICK)
    await until(lambda: _owns(first))
    await first.kill()
    await asyncio.sleep(SESSION + 1)  # until the group has forgotten it
    begun = time.monotonic()
    worker = await place.start_worker("tally", timing=QUICK)
    try:
        await until(lambda: _owns(worker))
        seconds = time.monotonic() - begun
        memory = psutil.Process(worker.process.pid).memory_info().rss
        [told] = await until(lambda: _live(worker))
        _verify(told["blocks"] + told["nodes"] == keys // 2 * 2, f"{told} of {keys}")
    finally:
        await worker.stop()
    return {"keys": keys, "ready_seconds": seconds, "megabytes": memory / 1e6}


async def _owns(worker: Worker) -> bool:
    _verify(worker.is_alive, str(worker.log()[-3:]))
    return bool(worker.said("owns"))


def _verify(holds: bool, found: str) -> None:
    if not holds:
        sys.exit(f"The figures do not count: {found}.")


async def _live(worker: Worker) -> list[dict[str, int]]:
    return worker.said("live")


async def _counted(place: Installation, count: int) -> bool:
    found = await place.db.fetchval(
        "select sum(next_offset) from consumer_offset where consumer = 'tally'"
    )
    return bool(found == count)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--keys", type=int, nargs="*", default=[0, 100_000])
    parser.add_argument("--stack", type=Path, help="stack.json of servers that run already")
    options = parser.parse_args()
    async with AsyncExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        if options.stack:
            servers = devstack.Addresses.read(options.stack)
        else:
            servers = stack = await devstack.start(folder / "stack")
            ending.push_async_callback(stack.stop)
        place = await ending.enter_async_context(installation(servers, folder))
        kinds = await preload(place, options.events)
        _tell(await drain(place, kinds))
        for keys in options.keys:
            _tell(await ready(place, keys))


def _tell(figures: dict[str, float]) -> None:
    rounded = {name: round(figure, 2) for name, figure in figures.items()}
    print(msgspec.json.encode(rounded | {"load": os.getloadavg()[0]}).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
