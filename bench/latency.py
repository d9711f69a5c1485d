"""Delays from producing a command until its row is committed, and until Redis has it; open loop.

    python -m bench.latency [--rate 1000 2000] [--seconds 15] [--mix field]
        [--roles apply tally bridge http]

Starts servers of its own, and workers and the HTTP server as `execstream up` does. Commands are a
simulation's, sent at their *intended* times whether or not earlier ones are through. A command
counts as committed when the worker's position in Postgres has passed it, and as bridged (`redis`)
when the source in the bridge's position has, which Redis moves together with publishing. Both are
polled: a command counts at most one poll too late, never too early, and polls so rare take little
of the cores that are measured. Of a command without an event the latter is that of the next one in
its partition. Figures in milliseconds; the first seconds, while processes and compilers are cold,
are left out. `us` is the CPU of each process per command, of the whole measurement. Load average is
printed beside.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.machine import Machine
from bench.rounds import until
from bench.stage import GRAPHS, MIXES, installation, servers
from execstream.cli.supervisor import ROLES, SERVER, Supervisor, child_of
from execstream.config.settings import Settings
from execstream.storage.redis.positions import RedisPositions, open_redis
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import Mix, Sent, load_graphs, simulate

WARM_UP = 10.0  # seconds
POLL = 0.002  # seconds
REDIS_POLL = 0.005  # seconds
REDIS_PATIENCE = 2.0  # seconds at the end, after which a command without an event counts as bridged

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

    def figures(self) -> dict[str, float]:
        """p50, p95, p99 and max."""
        quantiles = statistics.quantiles(self.latencies, n=100)
        return {
            "p50": quantiles[49],
            "p95": quantiles[94],
            "p99": quantiles[98],
            "max": max(self.latencies),
        }


async def measure(
    settings: Settings,
    rate: float,
    seconds: float,
    until: asyncio.Future[Any] | None = None,
    *,
    mix: Mix = MIXES["documented"],
    with_redis: bool = False,
) -> dict[str, float]:
    """p50, p95, p99 and max in milliseconds at `rate` commands/s, of Redis as `redis_p50` and so
    on; at most until that is done."""
    count = int(rate * (WARM_UP + seconds))
    graphs = load_graphs(GRAPHS)
    simulation = simulate(graphs, runs=count, seed=int(rate), start=datetime.now(UTC), mix=mix)
    commands = list(itertools.islice(simulation, count))
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        enable_idempotence=True,
        max_request_size=EVENTS.max_message_bytes,
    )
    await producer.start()
    begun = time.monotonic()
    committed, bridged = Meter(begun + WARM_UP), Meter(begun + WARM_UP)
    meters = (committed, bridged) if with_redis else (committed,)
    topic = settings.topic_prefix + COMMANDS.name
    feeding = asyncio.create_task(_feed(producer, topic, commands, begun, rate, meters, until))
    watching = [_watch(settings, feeding, committed)]
    if with_redis:
        watching.append(_watch_redis(settings, feeding, committed, bridged))
    await asyncio.gather(*watching)
    await producer.stop()
    figures = {"rate": rate, "commands": len(committed.latencies), **committed.figures()}
    if with_redis:
        figures |= {f"redis_{name}": figure for name, figure in bridged.figures().items()}
    return figures


async def _feed(
    producer: AIOKafkaProducer,
    topic: str,
    commands: list[Sent],
    begun: float,
    rate: float,
    meters: Sequence[Meter],
    until: asyncio.Future[Any] | None,
) -> None:
    partitions = len(await producer.partitions_for(topic))
    deliveries = []
    for number, (key, value) in enumerate(commands):
        if until is not None and until.done():
            break
        intended = begun + number / rate
        if (ahead := intended - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        partition = partition_of(key, partitions)
        delivery = await producer.send(topic, value, key, partition=partition)
        for meter in meters:
            delivery.add_done_callback(
                lambda done, m=meter, p=partition, at=intended: m.sent(p, done.result().offset, at)
            )
        deliveries.append(delivery)
    await asyncio.gather(*deliveries)


async def _watch(settings: Settings, feeding: asyncio.Task[None], meter: Meter) -> None:
    connection = await asyncpg.connect(
        settings.postgres, server_settings={"search_path": settings.schema_}
    )
    while not (feeding.done() and meter.idle):
        rows = await connection.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'apply'"
        )
        meter.passed(dict(rows), time.monotonic())
        await asyncio.sleep(POLL)
    feeding.result()
    await connection.close()


async def _watch_redis(
    settings: Settings, feeding: asyncio.Task[None], committed: Meter, bridged: Meter
) -> None:
    redis = open_redis(settings.redis)
    positions = RedisPositions(redis, settings.redis_prefix, settings.topic_prefix + EVENTS.name)
    idle_at: float | None = None
    while not bridged.idle or not feeding.done():
        found = await positions.load()
        sources = {number: at.source for number, at in found.items() if at.source is not None}
        passed = {number: source[1] + 1 for number, source in sources.items()}
        bridged.passed(passed, time.monotonic())
        if feeding.done() and committed.idle:
            idle_at = idle_at or time.monotonic()
            if time.monotonic() > idle_at + REDIS_PATIENCE:
                break
        await asyncio.sleep(REDIS_POLL)
    await redis.aclose()


async def have_begun(settings: Settings, roles: Collection[str]) -> None:
    """Return when workers have taken all partitions over."""
    connection = await asyncpg.connect(
        settings.postgres, server_settings={"search_path": settings.schema_}
    )
    wanted = len({"apply", "tally"}.intersection(roles)) * COMMANDS.partitions

    async def are_claimed() -> bool:
        count = "select count(*) from consumer_offset where consumer in ('apply', 'tally')"
        return bool(await connection.fetchval(count) >= wanted)

    await until(are_claimed)
    await connection.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, nargs="*", default=[1000, 2000])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--mix", choices=MIXES, default="field")
    parser.add_argument("--roles", nargs="*", default=[*ROLES, SERVER])
    options = parser.parse_args()
    machine = Machine()
    children = map(child_of, options.roles)
    async with (
        servers() as (addresses, folder),
        installation(addresses, "latency") as settings,
        Supervisor(settings, children, folder / "logs", machine.announce),
    ):
        await have_begun(settings, options.roles)
        for rate in options.rate:
            machine.begin()
            figures = await measure(
                settings,
                rate,
                options.seconds,
                mix=MIXES[options.mix],
                with_redis="bridge" in options.roles,
            )
            figures = {name: round(figure, 1) for name, figure in figures.items()}
            sent = rate * (WARM_UP + options.seconds)
            cpu = {name: round(one / sent * 1e6) for name, one in machine.spent().items()}
            print(json.dumps(figures | {"us": cpu, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
