"""Records with header names that are not UTF-8, which aiokafka itself cannot write or read."""

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from execstream.streams.topics import COMMANDS
from tests.orders import Order
from tests.worker import Installation, PartitionOffset


class _NotUtf8(str):
    """A header name as only other languages' producers can write it."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


async def put_with_unreadable_headers(
    place: Installation, orders: Sequence[Order]
) -> list[PartitionOffset]:
    """Put commands of one run in a batch; where they are."""
    commands, partition = place.topic(COMMANDS.name), place.partition_of(orders[0])
    # Not idempotent: only so it takes a batch that another builder made.
    async with AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, enable_idempotence=False
    ) as producer:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 100_000)
        for one in orders:
            names = [(_NotUtf8(), b"value")]
            batch.append(key=one.key, value=one.value, timestamp=None, headers=names)
        sent = await (await producer.send_batch(batch, commands, partition=partition))
    places = [(partition, sent.offset + number) for number in range(len(orders))]
    place.puts += places
    return places
