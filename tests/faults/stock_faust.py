"""The control without execstream: a stock Faust agent, one transaction an event, with small tables.

It is that of `bench/contenders/b1_stock_faust.py`. The expected rows are those of a dictionary
machine, fed with the topic in the order of offsets.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from bench.contenders import small_schema
from bench.contenders.contender import Job
from bench.contenders.small_machine import SmallMachine
from execstream.devstack import Stack
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import Mix, load_graphs
from tests.faults.feeding import Feeder, small_records
from tests.faults.findings import Findings
from tests.faults.patience import reached
from tests.faults.points import Plan
from tests.faults.postgres_faults import end_sessions
from tests.faults.progress import ANSWER, Offsets, Progress
from tests.faults.trial import Outcome
from tests.faults.workers import PROJECT, Worker
from tests.worker import Installation, installation

RATE = 100  # commands per second; it has a transaction for each
BETWEEN = 0.5  # seconds between faults
ITS_SESSIONS = ""  # the application that they name
ENDLESS = 10**9  # commands
_COLUMNS = {
    "runs": "select id, status, started_at, ended_at from small_run",
    "steps": "select id, run_id, node_id, status, queued_time, started_time, ended_time"
    " from small_step",
    "values": "select id, step_id, is_output, name from small_value",
}


class StockFaust(Worker):
    """The agent's process, started again whenever it ends."""

    def _command(self, _: Plan) -> tuple[str, ...]:
        job = msgspec.json.encode(Job(total=ENDLESS)).decode()
        return ("-m", "bench.contenders.b1_stock_faust", job)


async def run(stack: Stack, folder: Path, seed: int, times: int) -> Outcome:
    """Terminate the agent's session so many times; the differences are those of its tables."""
    outcome = Outcome()
    graphs = load_graphs(PROJECT / "examples" / "graphs")
    records = small_records(graphs, seed, Mix.field())
    async with installation(stack, folder) as place:
        await place.db.execute(small_schema.TABLES)
        topic = place.topic(COMMANDS.name)
        feeder = Feeder(stack.kafka_bootstrap, topic, records, RATE)
        agent = StockFaust("stock-faust", place.settings, folder / f"{topic}stock.log")
        agent.begin()
        try:
            feeder.begin()
            await reached("The first commit", committed(place), {0: 1})
            while outcome.trials < times:  # it takes seconds to connect again
                outcome.trials += await end_sessions(place.db, ITS_SESSIONS)
                await asyncio.sleep(BETWEEN)
            await feeder.stop()
            await reached("stock Faust", committed(place), feeder.ends)
            outcome.acknowledged = feeder.acknowledged
            outcome.findings = await compare(place)
        finally:
            await feeder.stop()
            await agent.abandon()
    return outcome


def committed(place: Installation) -> Progress:
    """Return the offsets that the agent has committed to Kafka."""
    topic = place.topic(COMMANDS.name)

    async def progress() -> Offsets | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
        try:
            async with asyncio.timeout(ANSWER):
                await admin.start()
                partitions = [TopicPartition(topic, n) for n in range(COMMANDS.partitions)]
                found = await admin.list_consumer_group_offsets(f"{topic}b1", partitions=partitions)
            return {tp.partition: one.offset for tp, one in found.items()}
        except (KafkaError, TimeoutError, OSError):
            return None
        finally:
            await admin.close()

    return progress


async def compare(place: Installation) -> Findings:
    """Compare the small tables with the dictionary machine."""
    machine = SmallMachine()
    for record in await place.commands():
        machine.apply(record.value or b"")
    findings = Findings()
    for (table, query), rows in zip(_COLUMNS.items(), machine.final(), strict=True):
        found = [(str(row[0]), _plain(row)) for row in await place.db.fetch(query)]
        findings.compare(table, {key: _plain((key, *row)) for key, row in rows.items()}, found)
    return findings


def _plain(row: Any) -> dict[str, str]:
    return {str(number): str(value) for number, value in enumerate(tuple(row)[1:])}
