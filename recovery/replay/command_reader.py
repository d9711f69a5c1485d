"""Commands straight from Kafka, or from an archive first, in batches, up to given offsets."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.kafka.reader import RecordReader, consumer
from execstream.recovery.archive.archive_reader import ArchivedTopic
from execstream.recovery.archive.folder import Archive
from execstream.streams.errors import Fatal

BATCH_BYTES = 12 * 1024 * 1024  # of values; one fetch may be over
_POLL = 200  # milliseconds


class NoLongerInTopic(Fatal):
    """Records to be read were deleted by the topic's retention."""


async def read_commands(
    bootstrap: str,
    parts: Sequence[AssignedPartition],
    ends: Mapping[int, int],
    limit: Callable[[], int],
    *,
    archive: Path | None = None,
) -> AsyncIterator[Batch]:
    """Yield batches of `parts` from their positions up to `ends`, by partition, in order; each of
    at most as many records as `limit` then returns. `archive`: the folder that is read first.
    """
    left = {TopicPartition(*part.tp): part for part in parts if part.next < ends[part.number]}
    if not left:
        return
    async with consumer(bootstrap, auto_offset_reset="none", check_crcs=False) as topic:
        reader: RecordReader = topic
        if archive is not None:
            bases = {part.number: part.base for part in parts}
            reader = ArchivedTopic(Archive(archive), parts[0].tp.topic, bases, topic)
        reader.assign(list(left))
        for tp, part in left.items():
            reader.seek(tp, part.next)
        while left:
            batch = await _next(reader, left, ends, limit())
            if batch:
                yield batch


async def _next(
    reader: RecordReader,
    left: dict[TopicPartition, AssignedPartition],
    ends: Mapping[int, int],
    limit: int,
) -> Batch:
    """The next batch; partitions that are through leave `left`."""
    parts: dict[int, PartitionBatch] = {}
    records = size = 0
    while left and records < limit and size < BATCH_BYTES:
        try:
            fetched = await reader.getmany(*left, timeout_ms=_POLL, max_records=limit - records)
        except OffsetOutOfRangeError as error:
            at = ", ".join(f"{tp.partition}:{offset}" for tp, offset in error.args[0].items())
            raise NoLongerInTopic(
                f"The topic's retention overtook the replay at {at}: drop the schema and begin "
                "again, with --source journal or a later --from."
            ) from error
        for tp, found in fetched.items():
            partition = left[tp]
            wanted = [record for record in found if record.offset < ends[partition.number]]
            if wanted:
                part = parts.setdefault(partition.number, PartitionBatch(partition, partition.next))
                part.records.extend(wanted)
                partition.next = part.next_offset
                records += len(wanted)
                size += sum(len(record.value or b"") for record in wanted)
        for tp in list(left):
            # The position passes transaction markers too, of which no record is returned.
            if await reader.position(tp) >= ends[tp.partition]:
                del left[tp]
        if not fetched and records:
            break
    if left:
        reader.pause(*(tp for tp in reader.assignment() if tp not in left))
    return Batch(parts[number] for number in sorted(parts))
