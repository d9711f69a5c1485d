"""Reading an archive and the topic behind it, as one topic.

`ArchivedTopic` is a reader like aiokafka's consumer: up to the end of the archive it takes records
from segments, then from the consumer that it was made with. Offsets are those of the topic as it is
now; records of a topic that was there before it, see `segments`, have offsets below zero.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from aiokafka import ConsumerRecord, TopicPartition

from execstream.kafka.header_decoding import MAX_TAKEN, records_in
from execstream.kafka.reader import RecordReader
from execstream.recovery.archive.folder import Archive, Partition


class ArchivedTopic:
    """The archived topic `name`, and behind it that of `reader`; `bases`: of its partitions."""

    def __init__(
        self, archive: Archive, name: str, bases: Mapping[int, int], reader: RecordReader
    ) -> None:
        self._reader = reader
        self._parts = {
            TopicPartition(name, number): _ArchivedPartition(one, bases.get(number, 0))
            for number, one in archive.partitions(name).items()
        }

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these from now on."""
        self._reader.assign(partitions)

    def assignment(self) -> Iterable[TopicPartition]:
        """The partitions that are read."""
        return self._reader.assignment()

    def pause(self, *partitions: TopicPartition) -> None:
        """Read these no further."""
        self._reader.pause(*partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at `offset`."""
        part = self._parts.get(partition)
        if part is None:
            self._reader.seek(partition, offset)
            return
        part.seek(offset)
        # The records behind the archive may be fetched already.
        self._reader.seek(partition, max(0, offset, part.end))

    async def position(self, partition: TopicPartition) -> int:
        """The offset to be read next."""
        part = self._parts.get(partition)
        if part is not None and part.is_in_archive:
            return part.position
        return await self._reader.position(partition)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        """The next records: of one partition while it is in the archive."""
        for tp in partitions or self.assignment():
            part = self._parts.get(tp)
            if part is not None and part.is_in_archive and (found := part.take(tp, max_records)):
                return {tp: found}
        return await self._reader.getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )


class _ArchivedPartition:
    """A partition at a position in its segments; offsets are positions without `base`."""

    def __init__(self, partition: Partition, base: int) -> None:
        self._partition = partition
        self._base = base
        self._records: Iterator[ConsumerRecord] | None = None
        self.position = partition.begin - base
        self.end = partition.end - base

    @property
    def is_in_archive(self) -> bool:
        return self.position < self.end

    def seek(self, offset: int) -> None:
        self.position, self._records = offset, None

    def take(self, tp: TopicPartition, most: int | None) -> list[ConsumerRecord]:
        """Up to `most` records, or MAX_TAKEN bytes of them; none at the end of the archive."""
        if self._records is None:
            self._records = self._read(tp)
        taken: list[ConsumerRecord] = []
        size = 0
        for record in islice(self._records, most):
            taken.append(record)
            self.position = record.offset + 1
            size += len(record.value or b"")
            if size >= MAX_TAKEN:
                break
        return taken

    def _read(self, tp: TopicPartition) -> Iterator[ConsumerRecord]:
        for facts, batches in self._partition.read(self.position + self._base):
            begin = max(facts.begin, self.position + self._base) - facts.identity.base
            shift = facts.identity.base - self._base
            for record in records_in(tp, batches, begin):
                record.offset += shift
                yield record
            self.position = facts.end - self._base  # there may be no record before it
