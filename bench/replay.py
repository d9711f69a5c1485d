"""The rate of a rebuild from the topics, and its effect on the live side.

    python -m bench.replay [--commands 1000000] [--rate 200] [--alone] [--save]

Starts servers of its own, puts that many simulated commands on the topic, and starts workers; their
rate is printed as `live`. Then `execstream replay` rebuilds them twice: `beside` is with commands
coming in at `rate` until the proof is done, with their latency with and without the rebuild, and
`alone` is without. A figure counts only because the replay compares all rows, totals and counts of
both schemas by their hashes. Memory is that of its processes together, at most; load average is
printed beside.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench import results
from bench.latency import measure
from bench.stage import GRAPHS
from execstream import devstack
from execstream.config.settings import read_settings
from execstream.kafka.admin import apply_topics
from execstream.kafka.producer import BulkProducer
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import load_graphs, simulate

POLL = 0.1  # seconds
SAMPLE = 0.25  # seconds
SETTLING = 30.0  # seconds for Postgres' remaining work on the rows just written
WITHOUT = 60.0  # seconds of commands without a replay beside them
MOST = 1_200.0  # seconds of them beside it
REBUILT = "rebuilt"
_POSITIONS = """
select coalesce(sum(next_offset), 0) from execstream.consumer_offset where consumer = 'apply'
"""


async def fill(stack: devstack.Stack, count: int) -> None:
    """Put `count` simulated commands on the topic."""
    records = simulate(load_graphs(GRAPHS), runs=count, seed=9, start=datetime.now(UTC))
    async with BulkProducer(stack.kafka_bootstrap, COMMANDS.name) as producer:
        for key, value in islice(records, count):
            await producer.add(key, value)


async def applied(stack: devstack.Stack, count: int) -> float:
    """Seconds until workers have applied and counted `count` commands."""
    begun = time.monotonic()
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        while await connection.fetchval(_POSITIONS) < count:  # noqa: ASYNC110 - not our process
            await asyncio.sleep(POLL)
        return time.monotonic() - begun
    finally:
        await connection.close()


async def replay(environment: dict[str, str]) -> dict[str, Any]:
    """Rebuild into a schema that is dropped first; rate, and the most memory."""
    connection = await asyncpg.connect(environment["EXECSTREAM_POSTGRES_DSN"])
    await connection.execute(f"drop schema if exists {REBUILT} cascade")
    await connection.close()
    command = (sys.executable, "-m", "execstream", "replay", "--into", REBUILT, "--json")
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE
    )
    begun = time.monotonic()
    sampling = asyncio.create_task(_most_memory(psutil.Process(process.pid)))
    said, _ = await process.communicate()
    report = json.loads(said)
    if not report["equal"]:
        sys.exit(f"The figures do not count: {report['differences'][:3]}")
    return {
        "commands": report["replayed"],
        "commands_per_second": report["commands_per_second"],
        "seconds_with_indexes_and_proof": round(time.monotonic() - begun, 1),
        "megabytes": round(await sampling / 1e6),
        "rows": sum(table["rows"] for table in report["tables"].values()),
    }


async def _most_memory(root: psutil.Process) -> int:
    most = 0
    while True:
        try:
            processes = [root, *root.children(recursive=True)]
            most = max(most, sum(one.memory_info().rss for one in processes))
        except psutil.NoSuchProcess:
            if not root.is_running():
                return most
        if root.status() == psutil.STATUS_ZOMBIE:
            return most
        await asyncio.sleep(SAMPLE)


async def compare(
    stack: devstack.Stack, environment: dict[str, str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Wait until all is applied, and replay it; all figures."""
    settings = read_settings().at(
        kafka_bootstrap=stack.kafka_bootstrap,
        postgres_dsn=stack.postgres_dsn,
        redis_url=stack.redis_url,
    )
    count, found = options.commands, {}
    live = await applied(stack, count)
    found["live"] = tell("live", {"commands": count, "commands_per_second": count / live})
    await asyncio.sleep(SETTLING)
    if not options.alone:
        before = await measure(settings, options.rate, WITHOUT)
        found["latency without"] = tell("latency without", before)
        replaying = asyncio.create_task(replay(environment))
        beside = await measure(settings, options.rate, MOST, replaying)
        found["latency beside"] = tell("latency beside", beside)
        found["beside"] = tell("beside", await replaying)
    found["alone"] = tell("alone", await replay(environment))
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=200, help="commands/s beside the replay")
    parser.add_argument("--alone", action="store_true", help="no replay beside other commands")
    parser.add_argument("--save", action="store_true", help="keep the figures for the manual")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        environment = os.environ | {
            "EXECSTREAM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "EXECSTREAM_POSTGRES_DSN": stack.postgres_dsn,
            "EXECSTREAM_REDIS_URL": stack.redis_url,
        }
        workers = []
        try:
            await migrate(stack.postgres_dsn)
            await apply_topics(stack.kafka_bootstrap)
            await fill(stack, options.commands)
            for role in ("apply", "tally"):
                command = (sys.executable, "-m", "execstream", "worker", "--role", role)
                workers.append(await asyncio.create_subprocess_exec(*command, env=environment))
            figures = await compare(stack, environment, options)
            if options.save:
                results.save("replay", figures)
        finally:
            for worker in workers:
                worker.terminate()
                await worker.wait()
            await stack.stop()


def tell(what: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Print figures, rounded; the same."""
    rounded = {name: round(figure, 1) for name, figure in figures.items()}
    found = {"what": what, **rounded, "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    asyncio.run(main())
