"""Two tally workers under load that are killed, stopped and given old events again.

Also the long form: `python -m tests.agents.torturing [SEED]`, some eight minutes.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aiokafka import AIOKafkaConsumer, TopicPartition

from execstream.agents.tally import live_pages
from execstream.devstack import Addresses, start
from execstream.devstack.ports import free_ports
from execstream.kafka.producer import BulkProducer
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import load_graphs
from tests.agents import tallied
from tests.faults.feeding import Feeder, small_records
from tests.faults.workers import PROJECT, Worker
from tests.worker import QUICK, SESSION, Installation, installation

REPEATED = 200  # repeated events at a time


@dataclass(frozen=True)
class Plan:
    """Faults come one after the other, at most `pause` seconds apart."""

    kills: int
    freezes: int
    repeats: int
    rate: int = 1_000  # commands per second
    pause: float = 3.0


SHORT = Plan(kills=4, freezes=1, repeats=2, pause=1.5)
LONG = Plan(kills=20, freezes=3, repeats=10, pause=8.0)


@dataclass
class Outcome:
    acknowledged: int = 0
    events: int = 0
    said: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def torture(servers: Addresses, folder: Path, plan: Plan, seed: int) -> Outcome:
    """Feed, strike, wait until all is quiet, and compare everything there is."""
    chance = Random(seed)
    outcome = Outcome()
    async with AsyncExitStack() as ending:
        place = await ending.enter_async_context(installation(servers, folder))
        await ending.enter_async_context(place.worker(timing=QUICK))
        ports = free_ports(2)
        workers = [_worker(place, folder, port) for port in ports]
        for worker in workers:
            ending.push_async_callback(worker.abandon)
            worker.begin()
        graphs = load_graphs(PROJECT / "examples" / "graphs")
        topic = place.topic(COMMANDS.name)
        feeder = Feeder(servers.kafka_bootstrap, topic, small_records(graphs, seed), plan.rate)
        ending.push_async_callback(feeder.stop)
        feeder.begin()
        await _strike(place, workers, plan, chance)
        await feeder.stop()
        outcome.acknowledged = feeder.acknowledged
        await place.drained()
        await place.events()  # waits until everything committed is published
        await tallied.counted(place)
        outcome.wrong = await _compare(place, ports)
        outcome.events = sum((await place._ends(EVENTS.name)).values())
        for worker in workers:
            code, _ = await worker.stop()
            outcome.wrong += worker.unplanned
            if code:
                outcome.wrong.append(f"A worker ended with {code} after SIGTERM.")
            outcome.said += worker.told()
    return outcome


def _worker(place: Installation, folder: Path, port: int) -> Worker:
    log = folder / f"{place.settings.schema_}-tally-{port}.log"
    return Worker("tally", place.settings_with(tally_port=port), log)


async def _strike(place: Installation, workers: list[Worker], plan: Plan, chance: Random) -> None:
    faults = ["kill"] * plan.kills + ["freeze"] * plan.freezes + ["repeat"] * plan.repeats
    chance.shuffle(faults)
    await asyncio.sleep(SESSION)
    for fault in faults:
        worker = chance.choice(workers)
        if fault == "kill":
            worker.kill()
        elif fault == "freeze":
            worker.freeze()
            await asyncio.sleep(SESSION * chance.uniform(1.3, 1.6))
            worker.thaw()  # a zombie now; another worker has its partitions
        else:
            await _repeat(place, chance)
        await asyncio.sleep(chance.uniform(0.2, plan.pause))


async def _repeat(place: Installation, chance: Random) -> None:
    """Publish a range of old events again, as an apply worker does that was killed."""
    topic = place.topic(EVENTS.name)
    partition = TopicPartition(topic, chance.randrange(EVENTS.partitions))
    reader = AIOKafkaConsumer(bootstrap_servers=place.settings.kafka, enable_auto_commit=False)
    await reader.start()
    try:
        end = (await reader.end_offsets([partition]))[partition]
        reader.assign([partition])
        reader.seek(partition, chance.randrange(max(1, end)))
        records = (await reader.getmany(timeout_ms=500)).get(partition, [])[:REPEATED]
    finally:
        await reader.stop()
    async with BulkProducer(place.settings.kafka, topic) as producer:
        for record in records:
            await producer.add(record.key, record.value, partition.partition)


async def _compare(place: Installation, ports: list[int]) -> list[str]:
    """The differences between rows, journal, totals, the topic and the tables of both workers."""
    wrong = await tallied.differences(place)
    totals, nodes = await tallied.totals(place), await tallied.node_totals(place)

    async def shown(path: str, *keys: str) -> tallied.Figures:
        try:
            partitions, entries = await tallied.live(path, ports)
        except OSError:  # it is being started again
            return {}
        return tallied.summed(entries, *keys) if len(set(partitions)) == len(partitions) else {}

    wrong += await tallied.eventually_equal(
        "block_stats", totals, lambda: shown(live_pages.BLOCKS, "block_id"), patience=30
    )
    wrong += await tallied.eventually_equal(
        "node_stats", nodes, lambda: shown(live_pages.NODES, "graph_id", "node_id"), patience=30
    )
    wrong += await tallied.eventually_equal(
        "block-stats topic", totals, lambda: tallied.published(place)
    )
    return wrong


async def main(seed: int) -> int:
    state = Path(tempfile.mkdtemp(prefix="execstream-tally-"))
    stack = await start(state, report=print)
    begun = time.monotonic()
    try:
        outcome = await torture(stack, state, LONG, seed)
    finally:
        await stack.stop()
    for complaint in outcome.wrong:
        print(complaint)
    print(
        f"{LONG}: {outcome.acknowledged} commands, {outcome.events} events, "
        f"{len(outcome.wrong)} differences, {time.monotonic() - begun:.0f} s, {dict(outcome.said)}"
    )
    if outcome.wrong:
        print(f"The logs of servers and workers are in {state}.")
        return 1
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 7)))
