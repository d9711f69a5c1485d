"""Checks of an archive: each segment is whole, none is missing, and the topic has the same."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException

from execstream.kafka.admin import admin_client
from execstream.kafka.header_decoding import records_in
from execstream.kafka.reader import Extent, consumer, extent, records
from execstream.kafka.topic_ids import find_topic_ids
from execstream.recovery.archive.folder import Archive, NoArchive, Partition
from execstream.recovery.archive.segments import ArchiveDamaged
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import TOPICS


@dataclass
class ArchiveReport:
    """The checked parts, and a sentence for each fault; `compared`: with records of topics."""

    segments: int = 0
    records: int = 0
    compared: int = 0
    topics: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.faults


async def check_archive(
    archive: Archive, bootstrap: str, prefix: str, report_progress: ProgressCallback
) -> ArchiveReport:
    """Check all of `archive`, and compare it with the topics where these still have its records."""
    report = ArchiveReport()
    names = archive.topics()
    if not names:
        raise NoArchive(f"There is no archive in {archive.folder}.")
    async with admin_client(bootstrap) as admin:
        cluster, ids = await find_topic_ids(admin, names)
    compacted = {prefix + one.name for one in TOPICS if one.cleanup == "compact"}
    async with consumer(bootstrap) as reader:
        for name in names:
            held = await extent(reader, name)
            for number in archive.numbers(name):
                try:
                    part = archive.partition(name, number)
                    _check_segments(part, report, report_progress)
                    newest = part.newest().identity
                    if (newest.cluster_id, newest.topic_id) == (cluster, ids.get(name)):
                        is_whole = name not in compacted
                        await _compare(reader, part, held, report, is_whole=is_whole)
                    else:
                        report.left_out.append(
                            f"partition {number} of {name} beside a topic: the archived one, "
                            f"{newest.topic_id} of cluster {newest.cluster_id}, is not there"
                        )
                except (ArchiveDamaged, CorruptRecordException) as error:
                    report.faults.append(str(error))
    return report


def _check_segments(
    part: Partition, report: ArchiveReport, report_progress: ProgressCallback
) -> None:
    topic = part.folder.parent.name
    for done, (facts, batches) in enumerate(part.read(0), 1):
        tp = TopicPartition(topic, part.number)
        begin, end = (place - facts.identity.base for place in (facts.begin, facts.end))
        count = 0
        for record in records_in(tp, batches, begin, check_crcs=True):
            count += 1
            if record.offset >= end:
                report.faults.append(
                    f"{topic} {part.number}: offset {record.offset} is behind {end}."
                )
        if count != facts.count:
            report.faults.append(
                f"The segment of {topic} {part.number} at {facts.begin} has {count} records, and "
                f"should have {facts.count}."
            )
        report.segments += 1
        report.records += count
        report_progress(f"Segments of {topic} {part.number}", done, len(part.segments))
    report.topics.setdefault(topic, {})[part.number] = (part.begin, part.end)


async def _compare(
    reader: AIOKafkaConsumer,
    part: Partition,
    held: Extent,
    report: ArchiveReport,
    *,
    is_whole: bool,
) -> None:
    """Compare records that both have; `is_whole`: the topic has each record between two others."""
    base = part.newest().identity.base
    begin, end = max(held.first[part.number], part.begin - base), part.end - base
    archived = _archived(part, begin + base)
    ours = next(archived, None)
    topic = part.folder.parent.name
    async for theirs in _each(reader, topic, part.number, begin, end):
        while ours is not None and ours.offset < theirs.offset:
            if is_whole:
                report.faults.append(_fault(part, ours.offset, "the topic lacks it"))
            ours = next(archived, None)
        if ours is None or ours.offset > theirs.offset:
            report.faults.append(_fault(part, theirs.offset, "the archive lacks it"))
            continue
        if not _are_equal(ours, theirs):
            report.faults.append(_fault(part, theirs.offset, "the topic has another record there"))
        report.compared += 1
        ours = next(archived, None)
    if ours is not None and is_whole:
        report.faults.append(_fault(part, ours.offset, "the topic lacks it"))


async def _each(
    reader: AIOKafkaConsumer, topic: str, number: int, begin: int, end: int
) -> AsyncIterator[ConsumerRecord]:
    async for some in records(reader, topic, number, begin, end):
        for record in some:
            yield record


def _archived(part: Partition, position: int) -> Iterator[ConsumerRecord]:
    """The archived records of the present topic from `position` on."""
    tp = TopicPartition(part.folder.parent.name, part.number)
    for facts, batches in part.read(position):
        begin = max(facts.begin, position) - facts.identity.base
        yield from records_in(tp, batches, begin)


def _are_equal(ours: ConsumerRecord, theirs: ConsumerRecord) -> bool:
    # Values that are too large to be read are all that may differ: neither side has them.
    return (ours.timestamp, ours.timestamp_type, ours.key, ours.headers, ours.value) == (
        theirs.timestamp,
        theirs.timestamp_type,
        theirs.key,
        theirs.headers,
        theirs.value,
    )


def _fault(part: Partition, offset: int, fault: str) -> str:
    return f"Offset {offset} of {part.folder.parent.name} {part.number}: {fault}."
