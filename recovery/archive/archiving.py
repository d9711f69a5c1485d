"""Writing the archive: batches from Kafka into segments, one after the other.

The folder alone has the position: each segment begins where the one before ends, and is there as a
whole or not at all. So a process that is killed at any moment leaves neither a gap nor a record
twice, and the next one goes on behind the last segment.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from msgspec.structs import replace

from execstream.agents.runtime.retries import tolerating
from execstream.config.settings import Settings
from execstream.kafka.admin import admin_client
from execstream.kafka.header_decoding import count_in, first_offset_in, records_in
from execstream.kafka.reader import Extent, batch_consumer, extent
from execstream.kafka.security import no_broker
from execstream.kafka.topic_ids import find_topic_ids
from execstream.recovery.archive.folder import Archive, Partition
from execstream.recovery.archive.segments import Facts, Identity, write_segment
from execstream.recovery.folders import alone, make_folder
from execstream.storage.connections import Session
from execstream.storage.log.archive_positions import ArchivedTo, bases_of, save_position
from execstream.streams.errors import Fatal, Unreachable
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import CATALOGUE, COMMANDS

SEGMENT_BYTES = 8 * 1024 * 1024  # of batches; one more batch may come on top
HELD_BYTES = 32 * 1024 * 1024  # of batches that wait to be written, in all partitions together
SEGMENT_SECONDS = 60.0  # until a record that was read is in a segment, with `follow`
_POLL = 500  # milliseconds


class NotThisArchive(Fatal):
    """The folder has records of another topic, or not those that come before the topic's."""


@dataclass
class Archived:
    """The output of a process."""

    records: int = 0
    segments: int = 0
    bytes: int = 0  # of segments


@dataclass
class _Waiting:
    """The batches of a partition that are read and not written yet; `end`: the position behind;
    `has_begun`: there is a segment of this topic."""

    partition: Partition
    identity: Identity
    end: int
    has_begun: bool
    batches: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes
    count: int = 0
    since: float = 0.0
    last_at: int = 0

    @property
    def next_offset(self) -> int:
        """Kafka's offset to read next."""
        return self.end - self.identity.base

    def add(self, tp: TopicPartition, batch: bytes, at: int) -> None:
        """Hold a batch that was read; `at`: the append time of its last record."""
        if first_offset_in(batch) < self.next_offset:  # the topic begins in the middle of it
            self.count += sum(1 for _ in records_in(tp, batch, self.next_offset))
        else:
            self.count += count_in(batch)
        if not self.batches:
            self.since = time.monotonic()
        self.batches.append(batch)
        self.size += len(batch)
        self.last_at = at


SegmentCallback = Callable[[Facts], None]


class Archiver:
    """Writes the topics of commands and of the catalogue to `archive`, which it has alone."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        reader: AIOKafkaConsumer,
        session: Session,
        on_segment: SegmentCallback,
    ) -> None:
        self.archived = Archived()
        self.notes: list[str] = []  # of partitions that lack their beginning
        self._settings = settings
        self._archive = archive
        self._reader = reader
        self._session = session
        self._on_segment = on_segment
        self._parts: dict[TopicPartition, _Waiting] = {}
        self._ends: dict[TopicPartition, int] = {}

    async def begin(self) -> None:
        """Find the position of each partition. Raises NotThisArchive or ArchiveDamaged."""
        await asyncio.to_thread(self._archive.remove_parts)
        names = [self._settings.topic_prefix + one.name for one in (COMMANDS, CATALOGUE)]
        async with admin_client(self._settings.kafka) as admin:
            cluster, ids = await find_topic_ids(admin, names)
        bases = await bases_of(await self._session.get(), names[0])
        for name in names:
            if name not in ids:
                raise NotThisArchive(f"There is no topic {name}: run `execstream topics apply`.")
            held = await extent(self._reader, name)
            self._ends |= {TopicPartition(name, p): end for p, end in held.end.items()}
            for number in held.first:
                now = Identity(cluster, name, ids[name])
                is_commands = name == names[0]
                base = bases.get(number) if is_commands else None
                self._begin_partition(now, number, held, base, is_commands=is_commands)
        self._reader.assign(list(self._parts))
        for tp, part in self._parts.items():
            if not part.has_begun:
                await self._write(part)
            self._reader.seek(tp, part.next_offset)
            await self._save(part)

    def _begin_partition(
        self, now: Identity, number: int, held: Extent, base: int | None, *, is_commands: bool
    ) -> None:
        """`base`: that of the partition in Postgres; None where it knows nothing of it."""
        partition, first = self._archive.partition(now.topic, number), held.first[number]
        newest = partition.newest().identity if partition.segments else None
        if base is None and newest is not None:
            is_same = (now.cluster_id, now.topic_id) == (newest.cluster_id, newest.topic_id)
            # Nothing depends on positions of the catalogue: those of a new topic just go on.
            base = newest.base if is_same else 0 if is_commands else partition.end
        now = replace(now, base=base or 0)
        if newest is not None:
            _check_identity(newest, now, partition)
        elif is_commands and first + now.base:
            self.notes.append(
                f"Partition {number} begins at offset {first}: earlier commands are missing."
            )
        end = first + now.base if newest is None else partition.end
        part = _Waiting(partition, now, end, has_begun=newest == now)
        _check_extent(part, first, held.end[number])
        self._parts[TopicPartition(now.topic, number)] = part

    async def run(
        self, report_progress: ProgressCallback, *, follow: bool, stop: asyncio.Future[int]
    ) -> None:
        """Archive up to the present ends, or with `follow` until `stop`; then write the rest.

        Raises NotThisArchive when retention overtakes the archive.
        """
        total, begun = self._left(), self._left()
        while not stop.done() and (follow or self._left()):
            await self._read(stop)
            await self._write_due(is_last=False)
            if not follow:
                report_progress("Archiving", begun - self._left(), total)
        await self._write_due(is_last=True)

    def _left(self) -> int:
        """Offsets that were there at the beginning and are not read yet."""
        return sum(max(0, end - self._parts[tp].next_offset) for tp, end in self._ends.items())

    async def _read(self, stop: asyncio.Future[int]) -> None:
        reading = asyncio.ensure_future(self._reader.getmany(timeout_ms=_POLL))
        await asyncio.wait([reading, stop], return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            return
        try:
            fetched = reading.result()
        except OffsetOutOfRangeError as error:
            at = ", ".join(f"{tp.topic} {tp.partition}:{o}" for tp, o in error.args[0].items())
            raise NotThisArchive(
                f"The topic does not have the next records ({at}): its retention overtook the "
                "archive, or it was made again."
            ) from error
        for tp, batches in fetched.items():
            for batch in batches:
                self._parts[tp].add(tp, batch.value, batch.timestamp)
        for tp, part in self._parts.items():
            # The position passes markers of transactions too, of which no batch is returned.
            part.end = await self._reader.position(tp) + part.identity.base

    async def _write_due(self, *, is_last: bool) -> None:
        held = sum(part.size for part in self._parts.values())
        now = time.monotonic()
        for part in sorted(self._parts.values(), key=lambda one: -one.size):
            is_due = part.size >= SEGMENT_BYTES or now - part.since >= SEGMENT_SECONDS
            if part.batches and (is_last or is_due or held >= HELD_BYTES):
                held -= part.size
                await self._write(part)
                await self._save(part)

    async def _write(self, part: _Waiting) -> None:
        """Write the batches of a partition, or an empty segment that opens it."""
        folder = part.partition.folder
        await asyncio.to_thread(make_folder, folder)
        facts = Facts(
            identity=part.identity,
            partition=part.partition.number,
            begin=part.partition.end if part.partition.segments else part.end,
            end=part.end,
            count=part.count,
            bytes=part.size,
            last_at=part.last_at,
        )
        path = await asyncio.to_thread(write_segment, folder, facts, part.batches)
        part.partition.add(facts, path)
        part.batches, part.size, part.count, part.last_at = [], 0, 0, 0
        self.archived.records += facts.count
        self.archived.segments += 1
        self.archived.bytes += path.stat().st_size
        self._on_segment(facts)

    async def _save(self, part: _Waiting) -> None:
        """Note the position in Postgres, which may be away: the folder is the truth."""
        identity, folder = part.identity, str(self._archive.folder.resolve())
        at = ArchivedTo(identity.topic, part.partition.number, part.next_offset, folder)
        with tolerating("archive", self._session):
            await save_position(await self._session.get(), at, identity.base)


def _check_identity(newest: Identity, now: Identity, partition: Partition) -> None:
    """Raise NotThisArchive unless records of `now` come behind those of `newest`."""
    if newest == now or now.base == partition.end:
        return
    if now.base != newest.base:
        raise NotThisArchive(
            f"Partition {partition.number} of {now.topic} continues at position {now.base}, and "
            f"the archive ends at {partition.end}: records between would be missing, or there "
            "twice. Archive to another folder."
        )
    raise NotThisArchive(
        f"{partition.folder.parent} has the topic {newest.topic} ({newest.topic_id}) of cluster "
        f"{newest.cluster_id}, and here is {now.topic_id} of cluster {now.cluster_id}: archive it "
        "to another folder. If the topic was lost and made again, see docs/recovery.md."
    )


def _check_extent(part: _Waiting, first: int, end: int) -> None:
    """Raise NotThisArchive unless the topic has the next record, or ends before it."""
    at, number, topic = part.next_offset, part.partition.number, part.identity.topic
    if at < first:
        raise NotThisArchive(
            f"Offsets {at} to {first - 1} of partition {number} of {topic} were deleted by "
            "retention before they were archived, and nothing is archived behind a gap: archive "
            "to another folder."
        )
    if at > end:
        raise NotThisArchive(
            f"The archive has partition {number} of {topic} up to offset {at - 1}, and the topic "
            f"ends at {end}: its last records were lost. See `execstream offsets show`."
        )


@asynccontextmanager
async def archiver(
    settings: Settings, folder: Path, on_segment: SegmentCallback
) -> AsyncIterator[Archiver]:
    """An archiver at its positions."""
    archive, session = Archive(folder), Session(settings.postgres, settings.schema_)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(session.close)
        opened.enter_context(alone(folder))
        try:
            reader = await opened.enter_async_context(
                # `verify --archive` checks the checksums: here they would be a third of the CPU.
                batch_consumer(settings.kafka, auto_offset_reset="none", check_crcs=False)
            )
        except KafkaConnectionError as error:
            raise Unreachable(no_broker(settings.kafka)) from error
        made = Archiver(settings, archive, reader, session, on_segment)
        await made.begin()
        yield made
