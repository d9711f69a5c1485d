"""Commands straight from Kafka, in batches, up to given offsets."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from agents.brokers import access
from agents.intake import Batch, Owned, Portion
from streams.errors import Fatal

BATCH_BYTES = 12 * 1024 * 1024  # of values; one fetch may be over
FETCH_BYTES = 1024 * 1024  # per partition; one larger record still comes
_POLL = 200  # milliseconds


class NoLongerInTopic(Fatal):
    """What is to be read was deleted by the topic's retention."""


@asynccontextmanager
async def reader(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group that reads what is committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        **access(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES,
        check_crcs=False,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_commands(
    bootstrap: str, parts: Sequence[Owned], ends: Mapping[int, int], limit: int
) -> AsyncIterator[Batch]:
    """Batches of `parts` from where they stand up to `ends`, by partition, in order; of at most
    `limit` records."""
    left = {TopicPartition(*part.tp): part for part in parts if part.next < ends[part.number]}
    if not left:
        return
    async with reader(bootstrap) as consumer:
        consumer.assign(list(left))
        for tp, part in left.items():
            consumer.seek(tp, part.next)
        while left:
            batch = await _next(consumer, left, ends, limit)
            if batch:
                yield batch


async def _next(
    consumer: AIOKafkaConsumer,
    left: dict[TopicPartition, Owned],
    ends: Mapping[int, int],
    limit: int,
) -> Batch:
    """The next batch; partitions that are through leave `left`."""
    portions: dict[int, Portion] = {}
    records = size = 0
    while left and records < limit and size < BATCH_BYTES:
        try:
            fetched = await consumer.getmany(*left, timeout_ms=_POLL, max_records=limit - records)
        except OffsetOutOfRangeError as error:
            at = ", ".join(f"{tp.partition}:{offset}" for tp, offset in error.args[0].items())
            raise NoLongerInTopic(
                f"The topic's retention overtook the replay at {at}: drop the schema and begin "
                "again, with --source journal or a later --from."
            ) from error
        for tp, found in fetched.items():
            part = left[tp]
            news = [record for record in found if record.offset < ends[part.number]]
            if news:
                portion = portions.setdefault(part.number, Portion(part, part.next))
                portion.records.extend(news)
                part.next = portion.next_offset
                records += len(news)
                size += sum(len(record.value or b"") for record in news)
        for tp in list(left):
            # The position passes markers of transactions too, which no record tells of.
            if await consumer.position(tp) >= ends[tp.partition]:
                del left[tp]
        if not fetched and records:
            break
    if left:
        consumer.pause(*(tp for tp in consumer.assignment() if tp not in left))
    return Batch(portions[number] for number in sorted(portions))
