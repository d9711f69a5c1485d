"""Publishing the newest values of a live table, so that a restart knows which are missing.

A partition's values go out in the order of their places, each batch acknowledged before the next
one leaves. So the last record of a partition is the end of its published values: values with a
later place may be missing, all others are there. A worker that was stopped for long and took itself
for the owner may append an old value after a newer one; the next owner finds that old place at the
end and publishes everything above it again. Readers keep, for each key, the value with the greatest
`position`.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from aiokafka import AIOKafkaProducer

from execstream.kafka.last_records import last_values
from execstream.kafka.worker_producer import LazyProducer
from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import NOWHERE, SourceOffset

log = structlog.get_logger(__name__)

TableRecord = tuple[bytes, bytes]  # key and value


class _Published(msgspec.Struct):
    source_partition: int
    position: SourceOffset


_decode = msgspec.json.Decoder(_Published).decode


class Changelog:
    """The topic that a table's values go to. One call at a time."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._producer = LazyProducer(bootstrap)

    async def publish(self, table_records: Mapping[int, Sequence[TableRecord]]) -> None:
        """Append by partition, each in its order; return when all is acknowledged."""
        producer = await self._producer.get()
        await asyncio.gather(
            *(
                self._publish_partition(producer, number, some)
                for number, some in table_records.items()
            )
        )

    async def places(self, partitions: Sequence[int]) -> dict[int, SourceOffset]:
        """The place of the last value in each of `partitions`; NOWHERE where there is none, or it
        has none.
        """
        values = await last_values(self._bootstrap, self.topic, partitions)
        return {number: _place(number, values.get(number)) for number in partitions}

    async def close(self) -> None:
        await self._producer.close()

    async def _publish_partition(
        self, producer: AIOKafkaProducer, number: int, table_records: Sequence[TableRecord]
    ) -> None:
        todo = deque(table_records)
        while todo:
            box = producer.create_batch()
            while todo and box.append(key=todo[0][0], value=todo[0][1], timestamp=None) is not None:
                todo.popleft()
            await (await producer.send_batch(box, self.topic, partition=number))


def _place(partition: int, value: bytes | None) -> SourceOffset:
    """The place of `value`, the last one of `partition`. NOWHERE when it is not a value of ours, or
    a tombstone, as anyone may write in a compacted topic: then all values are published again.
    """
    if not value:
        return NOWHERE
    try:
        published = _decode(value)
        if published.source_partition == partition:
            return published.position
        found = f"a value of partition {published.source_partition}"
    except NOT_READABLE as error:
        found = str(error)
    log.error("foreign_record_at_the_end", partition=partition, found=found)
    return NOWHERE
