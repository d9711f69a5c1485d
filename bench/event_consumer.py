"""Events that `EventConsumer` hands over per second of CPU, in batches, for asyncio and threads.

    python -m bench.event_consumer [--events 200000] [--rounds 3]

Starts servers of its own and puts events of simulated runs on the topic. Each round reads all of
them in a new process. The figures count only because each event came once, and the receipt has
none lost. CPU is that of the process, all of its threads; load average is printed beside.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.tally import preload
from execstream import EventConsumer, EventReceipt, SyncEventConsumer, devstack
from tests.worker import installation

QUIET = 10.0  # seconds without an event


async def _read(count: int) -> EventReceipt:
    async with EventConsumer() as consumer:
        while consumer.receipt.events < count:
            if await consumer.next_batch(QUIET) is None:
                break
    return consumer.receipt


def _read_in_thread(count: int) -> EventReceipt:
    with SyncEventConsumer() as consumer:
        while consumer.receipt.events < count and consumer.next_batch(QUIET):
            pass
    return consumer.receipt


def read(kind: str, count: int) -> dict[str, Any]:
    """Read `count` events of the topic that the environment names."""
    begun, cpu = time.monotonic(), time.process_time()
    receipt = _read_in_thread(count) if kind == "threads" else asyncio.run(_read(count))
    cpu, seconds = time.process_time() - cpu, time.monotonic() - begun
    if receipt != (count, count, 0):
        sys.exit(f"{count} events were there, and found is {receipt}")
    return {
        "events": count,
        "events_per_cpu_second": round(count / cpu),
        "events_per_second": round(count / seconds),
        "microseconds_per_event": round(cpu / count * 1e6, 2),
    }


async def _read_apart(kind: str, count: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """Read in a process of its own."""
    words = (sys.executable, "-m", "bench.event_consumer", "--kind", kind, "--events", str(count))
    said = await asyncio.to_thread(
        subprocess.check_output, words, env=os.environ | dict(environment)
    )
    figures: dict[str, Any] = json.loads(said)
    return figures


async def compare(count: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """All rounds of both consumers, which take turns."""
    found: dict[str, list[dict[str, Any]]] = {"asyncio": [], "threads": []}
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            async with installation(stack, Path(state)) as place:
                events = (await preload(place, count)).total()
                for _ in range(rounds):
                    for kind, figures in found.items():
                        environment = place.settings.environment()
                        figures.append(await _read_apart(kind, events, environment))
        finally:
            await stack.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=("asyncio", "threads"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(read(options.kind, options.events)))
        return
    figures = asyncio.run(compare(options.events, options.rounds))
    print(json.dumps(figures | {"load": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
