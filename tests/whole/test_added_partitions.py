"""Partitions that an operator adds to the commands topic: refused, and mended without a loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from execstream.devstack import Addresses
from execstream.kafka.admin import apply_topics
from execstream.kafka.partition_count import PartitionsChanged
from execstream.kafka.producer import Producer
from execstream.storage.log.run_partitions import is_foreign
from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation, installation, until

ADDED = 12


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation of each test alone: it breaks the topic."""
    async with installation(stack, tmp_path) as own:
        yield own


@asynccontextmanager
async def administration(place: Installation) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=place.settings.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@pytest.mark.slow
async def test_added_partitions_are_refused_and_mended(
    place: Installation, program: Program, tmp_path: Path
) -> None:
    """A worker applies nothing and logs the reason; no producer of ours sends anything; and
    commands sent meanwhile are applied once the topic has its partitions again.
    """
    topic = place.topic(COMMANDS.name)
    orders = Orders()
    async with place.worker() as worker, administration(place) as admin:
        await place.put([orders.create()])
        await place.drained()
        await admin.create_partitions({topic: NewPartitions(ADDED)})

        async def refuses() -> bool:
            return bool(worker.said("refuses"))

        await until(refuses)
        assert f"{topic} has 12 partitions and not 8" in worker.said("refuses")[0]["reason"]
        with pytest.raises(PartitionsChanged, match="Partitions that were raised"):
            await Producer(place.settings.kafka, topic).start()
        waiting = orders.start()
        await place.producer.client.force_metadata_update()
        await place.put([waiting._replace(partition=9)])
        await asyncio.sleep(3)
        assert worker.is_alive
        status = await place.db.fetchval("select status from graph_execution")
        assert status == "INCOMPLETE"

    async with administration(place) as admin:
        await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await admin.list_topics()

        await until(is_gone)
    await apply_topics(place.settings.kafka, place.settings.topic_prefix, 1)
    assert (await program("offsets", "rebase", "commands", "--force")).code == 0
    file = tmp_path / "waiting.jsonl"
    file.write_bytes((waiting.value or b"") + b"\n")
    assert (await program("emit", str(file))).code == 0
    async with place.worker():

        async def is_applied() -> bool:
            status = await place.db.fetchval("select status from graph_execution")
            return bool(status == "RUNNING")

        await until(is_applied)


def test_a_key_has_one_partition() -> None:
    """That of Java's murmur2, modulo the partitions of topics.yaml."""
    orders = Orders("00000000-0000-4000-8000-000000000000")
    assert [is_foreign(orders.run_id, number) for number in range(8)].count(False) == 1
