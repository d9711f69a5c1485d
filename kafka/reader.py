"""Whole partitions of a topic in order, from their beginning up to where they end now."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from execstream.kafka import header_decoding, large_batches
from execstream.kafka.security import client_options

_POLL = 500  # milliseconds
# How long the broker holds an answer back at the end of a partition; the next one waits for it.
_HELD_BACK = 10  # milliseconds
_USUAL = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
FETCH_BYTES = 1024 * 1024  # one larger record still comes


@dataclass(slots=True)
class Extent:
    """The offsets that a topic holds, by partition: from `first` up to `end`."""

    first: dict[int, int] = field(default_factory=dict)
    end: dict[int, int] = field(default_factory=dict)


@asynccontextmanager
async def consumer(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group that reads committed records, unless aiokafka's `options` change
    that.
    """
    header_decoding.install()
    made = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        **client_options(),
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=_HELD_BACK,
        **_USUAL | options,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def extent(reader: AIOKafkaConsumer, topic: str) -> Extent:
    """Return the extent of `topic` now; empty if there is no such topic."""
    # Not `partitions_for_topic`, which forgets topics that nothing is assigned of.
    cluster = await reader._client.fetch_all_metadata()  # noqa: SLF001
    numbers = cluster.partitions_for_topic(topic) or ()
    parts = [TopicPartition(topic, number) for number in sorted(numbers)]
    if not parts:
        return Extent()
    first = await reader.beginning_offsets(parts)
    end = await reader.end_offsets(parts)
    return Extent(
        {tp.partition: offset for tp, offset in first.items()},
        {tp.partition: offset for tp, offset in end.items()},
    )


async def unlimited(
    reader: AIOKafkaConsumer, topic: str, partition: int, offsets: range
) -> AsyncIterator[list[ConsumerRecord]]:
    """Records at `offsets`, also those behind the limit of a batch; unpacking the ones before them
    takes seconds.
    """
    found = records(reader, topic, partition, offsets.start, offsets.stop)
    while True:
        token = large_batches.most_bytes.set(sys.maxsize)
        try:
            some = await anext(found, None)
        finally:
            large_batches.most_bytes.reset(token)
        if some is None:
            return
        yield some


async def records(
    reader: AIOKafkaConsumer, topic: str, partition: int, begin: int, end: int
) -> AsyncIterator[list[ConsumerRecord]]:
    """Records of one partition from offset `begin` on, before `end`, some at a time."""
    if begin >= end:
        return
    tp = TopicPartition(topic, partition)
    reader.assign([tp])
    reader.seek(tp, begin)
    # The position passes transaction markers too, of which no record is returned.
    while await reader.position(tp) < end:
        for found in (await reader.getmany(tp, timeout_ms=_POLL)).values():
            if some := [record for record in found if record.offset < end]:
                yield some
