"""The bulk producer: counts, offsets and order against a real broker."""

from collections import defaultdict
from uuid import uuid4

import pytest
from aiokafka.errors import KafkaError

from execstream.devstack import Addresses
from execstream.kafka.producer import BulkProducer, Producer
from execstream.streams.errors import Unreachable
from execstream.streams.topics import COMMANDS
from tests.worker import Installation

RECORDS = 5_000
SIZE = 2_000  # bytes, so that partitions take more than one batch


async def test_bulk(place: Installation) -> None:
    """Everything is acknowledged, once and in order, and the ends are known."""
    run = str(uuid4())
    keys = [f"{run}/{number}".encode() for number in range(20)]
    before = await place._ends(COMMANDS.name)

    async with BulkProducer(place.settings.kafka, place.topic(COMMANDS.name)) as producer:
        for number in range(RECORDS):
            await producer.add(keys[number % 20], str(number).encode().ljust(SIZE))

    assert producer.sent == producer.acknowledged == RECORDS
    after = await place._ends(COMMANDS.name)
    assert producer.ends == {p: end for p, end in after.items() if end > before[p]}
    assert producer.begins == {p: before[p] for p in producer.ends}
    seen = defaultdict(list)
    for record in await place.commands():
        if record.key in keys:
            seen[record.key].append(int(record.value))
    assert seen == {key: [*range(n, RECORDS, 20)] for n, key in enumerate(keys)}


async def test_told_partition(place: Installation) -> None:
    """A given partition wins over the key's."""
    key = str(uuid4()).encode()
    async with BulkProducer(place.settings.kafka, place.topic(COMMANDS.name)) as producer:
        for partition in range(COMMANDS.partitions):
            await producer.add(key, b"{}", partition)
    assert set(producer.ends) == set(range(COMMANDS.partitions))


async def test_too_large(place: Installation) -> None:
    """A record too large for the topic raises; it is not counted as acknowledged."""
    topic = place.topic(COMMANDS.name)
    large = b"x" * (COMMANDS.max_message_bytes + 1)
    with pytest.raises(KafkaError):
        async with BulkProducer(place.settings.kafka, topic) as bulk:
            await bulk.add(b"key", large)
    assert (bulk.sent, bulk.acknowledged) == (1, 0)
    one_by_one = Producer(place.settings.kafka, topic)
    await one_by_one.start()
    with pytest.raises(KafkaError):
        await one_by_one.send(b"key", large)
    await one_by_one.close()


async def test_nobody_there(stack: Addresses) -> None:
    """No broker, or no such topic: Unreachable with the way out."""
    with pytest.raises(Unreachable, match=r"No Kafka broker answers at 127\.0\.0\.1:1"):
        await Producer("127.0.0.1:1", COMMANDS.name).start()
    with pytest.raises(Unreachable, match="run `execstream topics apply`"):
        await Producer(stack.kafka_bootstrap, f"none-{uuid4()}").start()
