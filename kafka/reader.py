"""Whole partitions of a topic in order, from their beginning up to where they end now."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from execstream.kafka import header_decoding, large_batches
from execstream.kafka.security import client_options

_POLL = 500  # milliseconds
# How long the broker holds an answer back at the end of a partition; the next one waits for it.
_HELD_BACK = 10  # milliseconds
_USUAL = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
FETCH_BYTES = 1024 * 1024  # one larger record still comes


class RecordReader(Protocol):
    """Reads records of assigned partitions, as aiokafka's consumer does."""

    def assign(self, partitions: list[TopicPartition]) -> None: ...
    def assignment(self) -> Iterable[TopicPartition]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    async def position(self, partition: TopicPartition) -> int: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[ConsumerRecord]]: ...


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
        await _stop(made)


async def _stop(made: AIOKafkaConsumer) -> None:
    """Stop a consumer. aiokafka awaits the fetches that it cancels, and may raise their
    CancelledError, which would take the place of the error that the caller has."""
    try:
        await made.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await made._client.close()  # noqa: SLF001 - where `stop` did not come to


@asynccontextmanager
async def batch_consumer(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """The same with each batch as one record (`header_decoding.WholeBatch`). Batches of aborted
    transactions are left out as ever."""
    async with AsyncExitStack() as opened:
        token = header_decoding.whole_batches.set(True)
        try:
            reader = await opened.enter_async_context(consumer(bootstrap, **options))
        finally:
            header_decoding.whole_batches.reset(token)
        yield reader


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
    reader: RecordReader, topic: str, partition: int, begin: int, end: int
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
