"""Servers, topics and tables of a measurement's own, and the commands that it sends."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from execstream import devstack
from execstream.config.settings import Settings, read_settings
from execstream.devstack.ports import free_ports
from execstream.kafka.admin import admin_client, apply_topics
from execstream.kafka.producer import BulkProducer
from execstream.storage.connections import quoted
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import COMMANDS, TOPICS
from execstream.workload.simulation import Mix, Sent, load_graphs, simulate

GRAPHS = Path(__file__).parent.parent / "examples" / "graphs"
MIXES = {"documented": Mix(), "field": Mix.field(), "fixed": Mix(payload_bytes=460)}
PORTS = ("apply_port", "tally_port", "bridge_port", "http_port")
AGO = timedelta(minutes=30)  # simulated time must not run ahead of the clock


def simulated(count: int, mix: str, seed: int = 1) -> list[Sent]:
    """`count` records of simulated runs, in memory."""
    start = datetime.now(UTC) - AGO
    simulation = simulate(load_graphs(GRAPHS), runs=count, seed=seed, start=start, mix=MIXES[mix])
    return list(itertools.islice(simulation, count))


@asynccontextmanager
async def servers() -> AsyncIterator[tuple[Settings, Path]]:
    """Settings that name new servers, and a folder for files, while the context lasts."""
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            addresses = read_settings().at(
                kafka_bootstrap=stack.kafka_bootstrap,
                postgres_dsn=stack.postgres_dsn,
                redis_url=stack.redis_url,
            )
            ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
            yield addresses.model_copy(update=dict(ports)), Path(state)
        finally:
            await stack.stop()


@asynccontextmanager
async def installation(settings: Settings, name: str) -> AsyncIterator[Settings]:
    """Settings with empty topics and tables under `name`, which are gone afterwards."""
    place = settings.model_copy(
        update={"topic_prefix": f"{name}.", "schema_": name, "redis_prefix": f"{name}:"}
    )
    await migrate(place.postgres, place.schema_)
    await apply_topics(place.kafka, place.topic_prefix)
    try:
        yield place
    finally:
        connection = await asyncpg.connect(place.postgres)
        await connection.execute(f"drop schema {quoted(place.schema_)} cascade")
        await connection.close()
        async with admin_client(place.kafka) as admin:
            await admin.delete_topics([place.topic_prefix + topic.name for topic in TOPICS])


async def fill(settings: Settings, records: Sequence[Sent]) -> dict[int, int]:
    """Put `records` on the commands topic; the offsets where its partitions then end."""
    async with BulkProducer(settings.kafka, settings.topic_prefix + COMMANDS.name) as producer:
        for key, value in records:
            await producer.add(key, value)
        await producer.flush()
    return dict(producer.ends)
