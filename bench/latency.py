"""How long from producing a command until its row is committed, open loop.

    python -m bench.latency [--rate 1000] [--seconds 15]

Starts servers and one worker of its own. Commands are a simulation's, sent at their *intended*
times whether or not earlier ones are through; a command counts as committed when the worker's
position in Postgres, polled every millisecond, has passed it. Figures in milliseconds; the first
seconds, while everything is cold, are left out. Load average is printed beside them.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from execstream import devstack
from execstream.kafka.admin import apply_topics
from execstream.storage.schema.migrate import migrate
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import Sent, load_graphs, simulate

WARM_UP = 5.0  # seconds
POLL = 0.001  # seconds
GRAPHS = Path(__file__).parent.parent / "examples" / "graphs"

Waiting = dict[int, list[tuple[int, float]]]  # partition → (offset, intended time), in order


class Meter:
    """Pairs intended times with the moments at which positions pass them."""

    def __init__(self, since: float) -> None:
        self.latencies: list[float] = []  # milliseconds
        self._since = since
        self._waiting: Waiting = {}

    def sent(self, partition: int, offset: int, intended: float) -> None:
        self._waiting.setdefault(partition, []).append((offset, intended))

    def passed(self, positions: dict[int, int], now: float) -> None:
        for partition, position in positions.items():
            waiting = self._waiting.get(partition, [])
            while waiting and waiting[0][0] < position:
                _, intended = waiting.pop(0)
                if intended >= self._since:
                    self.latencies.append((now - intended) * 1000)

    @property
    def idle(self) -> bool:
        return not any(self._waiting.values())


async def measure(
    stack: devstack.Stack, rate: float, seconds: float, until: asyncio.Future[Any] | None = None
) -> dict[str, float]:
    """p50, p95, p99 and max in milliseconds at `rate` commands/s; at most until that is done."""
    count = int(rate * (WARM_UP + seconds))
    graphs = load_graphs(GRAPHS)
    simulation = simulate(graphs, runs=count, seed=1, start=datetime.now(UTC))
    commands = list(itertools.islice(simulation, count))
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap,
        acks="all",
        enable_idempotence=True,
        max_request_size=EVENTS.max_message_bytes,
    )
    await producer.start()
    begun = time.monotonic()
    meter = Meter(begun + WARM_UP)
    feeding = asyncio.create_task(_feed(producer, commands, begun, rate, meter, until))
    await _watch(stack, feeding, meter)
    await producer.stop()
    quantiles = statistics.quantiles(meter.latencies, n=100)
    return {
        "rate": rate,
        "commands": len(meter.latencies),
        "p50": quantiles[49],
        "p95": quantiles[94],
        "p99": quantiles[98],
        "max": max(meter.latencies),
    }


async def _feed(
    producer: AIOKafkaProducer,
    commands: list[Sent],
    begun: float,
    rate: float,
    meter: Meter,
    until: asyncio.Future[Any] | None,
) -> None:
    partitions = len(await producer.partitions_for(COMMANDS.name))
    deliveries = []
    for number, (key, value) in enumerate(commands):
        if until is not None and until.done():
            break
        intended = begun + number / rate
        if (ahead := intended - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        partition = partition_of(key, partitions)
        delivery = await producer.send(COMMANDS.name, value, key, partition=partition)
        delivery.add_done_callback(
            lambda done, p=partition, at=intended: meter.sent(p, done.result().offset, at)
        )
        deliveries.append(delivery)
    await asyncio.gather(*deliveries)


async def _watch(stack: devstack.Stack, feeding: asyncio.Task[None], meter: Meter) -> None:
    connection = await asyncpg.connect(
        stack.postgres_dsn, server_settings={"search_path": "execstream"}
    )
    while not (feeding.done() and meter.idle):
        rows = await connection.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'apply'"
        )
        meter.passed(dict(rows), time.monotonic())
        await asyncio.sleep(POLL)
    feeding.result()
    await connection.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, nargs="*", default=[1000, 2000])
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            await migrate(stack.postgres_dsn)
            await apply_topics(stack.kafka_bootstrap)
            process = await worker(stack)
            for rate in options.rate:
                figures = await measure(stack, rate, options.seconds)
                figures = {name: round(figure, 1) for name, figure in figures.items()}
                print(json.dumps(figures | {"load": os.getloadavg()[0]}), flush=True)
            process.terminate()
            await process.wait()
        finally:
            await stack.stop()


async def worker(stack: devstack.Stack) -> asyncio.subprocess.Process:
    """Start a worker of role `apply` on the servers of `stack`."""
    environment = os.environ | {
        "EXECSTREAM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "EXECSTREAM_POSTGRES_DSN": stack.postgres_dsn,
        "EXECSTREAM_REDIS_URL": stack.redis_url,
    }
    command = (sys.executable, "-m", "execstream", "worker", "--role", "apply")
    return await asyncio.create_subprocess_exec(*command, env=environment)


if __name__ == "__main__":
    asyncio.run(main())
