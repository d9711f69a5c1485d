"""The effect of one user's largest commands on others, open loop.

    python -m bench.fairness [--rate 500] [--seconds 30] [--megabytes 2] [--size 8388608]

Starts servers and one worker of role `apply`. Others send small commands at `--rate` per second to
all partitions, first alone, then beside one user who sends `--megabytes` per second to one of them:
creations of `--size` bytes with as many entries as are legal. A command's latency runs from the
time at which it was meant to be sent until its partition's position has passed it, polled every
millisecond; the first seconds are left out. Printed are p50, p99 and max of the others' commands in
milliseconds, on that user's partition and elsewhere, and load average beside them. Commands that
are not applied after GRACE seconds more count as of then.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.large_commands import THEIRS, encode_command
from bench.latency import POLL, WARM_UP, Meter
from execstream import devstack
from execstream.kafka.admin import apply_topics
from execstream.storage.schema.migrate import migrate
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS, EVENTS

GRACE = 20.0  # seconds
COMMANDS_OF_A_RUN = 10

Latencies = dict[int, list[float]]  # by partition, milliseconds


def small_commands() -> Iterator[tuple[str, bytes]]:
    """Runs of others, one after the other: a creation, then outputs of its step."""
    while True:
        run_id, step_id = str(uuid.uuid4()), str(uuid.uuid4())
        node = {"node_id": "n", "block_id": "b", "inputs": {}, "node_exec_id": step_id}
        about = {"graph_id": "g", "graph_version": 1, "starting_nodes": [node]}
        yield run_id, encode_command("graph.create", run_id, "others", **about)
        for _ in range(COMMANDS_OF_A_RUN - 1):
            output = {"node_exec_id": step_id, "output_name": "o", "output_data": "x" * 300}
            yield run_id, encode_command("node.output", run_id, "others", **output)


async def measure(
    stack: devstack.Stack, rate: float, seconds: float, large: tuple[float, int] | None
) -> Latencies:
    """Latencies of the others' commands beside `large`: bytes per second, and bytes of each."""
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap,
        acks="all",
        enable_idempotence=True,
        max_request_size=EVENTS.max_message_bytes,
    )
    await producer.start()
    begun = time.monotonic()
    meters: dict[int, Meter] = defaultdict(lambda: Meter(begun + WARM_UP))
    feeding = [asyncio.create_task(_feed(producer, begun, rate, seconds, meters))]
    if large is not None:
        feeding.append(asyncio.create_task(_feed_large(stack, begun, seconds, *large)))
    await _watch(stack, asyncio.gather(*feeding), meters)
    await producer.stop()
    return {partition: meter.latencies for partition, meter in meters.items()}


async def _feed(
    producer: AIOKafkaProducer,
    begun: float,
    rate: float,
    seconds: float,
    meters: dict[int, Meter],
) -> None:
    deliveries = []
    for number, (run_id, value) in enumerate(small_commands()):
        intended = begun + number / rate
        if intended > begun + WARM_UP + seconds:
            break
        await asyncio.sleep(max(intended - time.monotonic(), 0))
        key = run_id.encode()
        partition = partition_of(key, COMMANDS.partitions)
        delivery = await producer.send(COMMANDS.name, value, key, partition=partition)
        delivery.add_done_callback(
            lambda done, p=partition, at=intended: meters[p].sent(p, done.result().offset, at)
        )
        deliveries.append(delivery)
    await asyncio.gather(*deliveries)


async def _feed_large(
    stack: devstack.Stack, begun: float, seconds: float, rate: float, size: int
) -> None:
    """In another process: the time that this one takes to send them would count as latency."""
    rest = begun + WARM_UP + seconds - time.monotonic()
    about = ("--seconds", str(rest), "--megabytes", str(rate / 1e6), "--size", str(size))
    command = (sys.executable, "-m", "bench.large_commands", stack.kafka_bootstrap, *about)
    process = await asyncio.create_subprocess_exec(*command)
    if code := await process.wait():
        sys.exit(code)


async def _watch(
    stack: devstack.Stack, feeding: asyncio.Future[Any], meters: dict[int, Meter]
) -> None:
    connection = await asyncpg.connect(
        stack.postgres_dsn, server_settings={"search_path": "execstream"}
    )
    ends = math.inf
    while not (feeding.done() and all(meter.idle for meter in meters.values())):
        rows = await connection.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'apply'"
        )
        now = time.monotonic()
        for partition, position in rows:
            if partition in meters:
                meters[partition].passed({partition: position}, now)
        if feeding.done():
            ends = min(ends, now + GRACE)
        if now > ends:
            for partition, meter in meters.items():
                meter.passed({partition: sys.maxsize}, now)
        await asyncio.sleep(POLL)
    feeding.result()
    await connection.close()


def figures(latencies: Latencies, *, is_theirs: bool) -> dict[str, float]:
    """Figures of one partition, or of all others, in milliseconds."""
    some = [one for p, all_of in latencies.items() if (p == THEIRS) is is_theirs for one in all_of]
    quantiles = statistics.quantiles(some, n=100)
    return {
        "commands": len(some),
        "p50": round(quantiles[49], 1),
        "p99": round(quantiles[98], 1),
        "max": round(max(some), 1),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--megabytes", type=float, default=2)
    parser.add_argument("--size", type=int, default=8 * 1024 * 1024)
    options = parser.parse_args()
    large = (options.megabytes * 1e6, options.size)
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            await migrate(stack.postgres_dsn)
            await apply_topics(stack.kafka_bootstrap)
            process = await worker(stack)
            for name, beside in (("alone", None), ("beside", large)):
                found = await measure(stack, options.rate, options.seconds, beside)
                for is_theirs, where in ((True, "same_partition"), (False, "elsewhere")):
                    told = {"others": name, "where": where} | figures(found, is_theirs=is_theirs)
                    print(json.dumps(told | {"load": os.getloadavg()[0]}), flush=True)
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
