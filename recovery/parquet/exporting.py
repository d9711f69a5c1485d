"""Export of the events topic into Parquet files, each row once, whatever is killed when."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from execstream.client.event_batches import EventBatch, EventPosition
from execstream.client.event_consumer import EventConsumer, TopicMissing
from execstream.config.settings import Settings
from execstream.kafka.admin import admin_client
from execstream.kafka.reader import Extent, consumer, extent
from execstream.kafka.topic_ids import find_topic_ids
from execstream.recovery.folders import alone
from execstream.recovery.parquet.export_folder import ExportFolder
from execstream.recovery.parquet.rows import Kind, Row, rows_of, table_of
from execstream.streams.events import Event
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import EVENTS

MOST_ROWS = 50_000  # of a commit
MOST_BYTES = 32 * 1024 * 1024  # of texts in them, in characters
COMMIT_AFTER = 60.0  # seconds until a row that was read is in a file, with `follow`
_LOOK = 0.5  # seconds
_TAIL = 3.0  # seconds without events, where repeats alone are left
_PATIENCE = 60.0  # seconds without any record


@dataclass
class Exported:
    """The output of a process; `left`: offsets that it should have passed and did not."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    left: int = 0


@dataclass
class _Waiting:
    """Rows by day that are read and not written yet."""

    rows: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    size: int = 0
    since: float = 0.0

    def add(self, kind: Kind, event: Event) -> None:
        for row in rows_of(kind, [event]):
            self.rows[day_of(event)].append(row)
            self.count += 1
            self.size += sum(len(value) for value in row.values() if isinstance(value, str))
        self.since = self.since or time.monotonic()

    @property
    def is_due(self) -> bool:
        is_old = bool(self.since) and time.monotonic() - self.since >= COMMIT_AFTER
        return is_old or self.count >= MOST_ROWS or self.size >= MOST_BYTES


def day_of(event: Event) -> str:
    """The UTC day of a folder: that of the event; of one with a wrong clock, the present one."""
    return (datetime.now(UTC) if event.skewed else event.at).astimezone(UTC).date().isoformat()


class Exporter:
    """Adds rows of `kind` to `folder`."""

    def __init__(self, kind: Kind, folder: ExportFolder, held: Extent) -> None:
        self.exported = Exported()
        self._kind = kind
        self._folder = folder
        self._held = held
        self._positions = dict(folder.state.positions)
        self._waiting = _Waiting()
        self._heard_at = 0.0

    async def run(
        self,
        reader: EventConsumer,
        report_progress: ProgressCallback,
        *,
        follow: bool,
        stop: asyncio.Future[int],
    ) -> None:
        """Export up to the present ends, or with `follow` until `stop`; then write the rest.

        Without `follow` it gives up when no record comes for _PATIENCE seconds.
        """
        total = self._left()
        self._heard_at = time.monotonic()
        while not stop.done() and (follow or not self._is_over(reader, total)):
            batch = await reader.next_batch(_LOOK)
            if batch is not None:
                self._add(batch)
            if self._waiting.is_due:
                await self._commit()
            if not follow:
                report_progress("Events exported", total - self._left(), total)
        await self._commit()
        if not follow and reader.receipt.read < total:
            self.exported.left = self._left()

    def _add(self, batch: EventBatch) -> None:
        self._heard_at = time.monotonic()
        self._positions[batch.partition] = batch.after
        for event in batch.events:
            self._waiting.add(self._kind, event)

    async def _commit(self) -> None:
        if self._positions == self._folder.state.positions:
            return
        tables = {day: table_of(self._kind, rows) for day, rows in self._waiting.rows.items()}
        files = await asyncio.to_thread(self._folder.commit, tables, self._positions)
        self.exported.rows += self._waiting.count
        self.exported.files += len(files)
        self.exported.bytes += sum(file.stat().st_size for file in files)
        self._waiting = _Waiting()

    def _left(self) -> int:
        """Offsets that were there at the beginning and are not passed yet."""
        return sum(
            max(0, end - self._positions.get(number, EventPosition(first)).next_offset)
            for number, first, end in (
                (number, self._held.first[number], end) for number, end in self._held.end.items()
            )
        )

    def _is_over(self, reader: EventConsumer, total: int) -> bool:
        """Return whether all events are read: only a batch with events moves the positions."""
        silence = time.monotonic() - self._heard_at
        is_read = reader.receipt.read >= total
        return not self._left() or silence > (_TAIL if is_read else _PATIENCE)


async def export_table(
    settings: Settings,
    kind: Kind,
    to: Path,
    report_progress: ProgressCallback,
    *,
    follow: bool,
    stop: asyncio.Future[int],
) -> Exported:
    """Export `kind` into the folder of that name in `to`.

    Raises:
        FolderInUse: another process exports to it.
        NotThisExport: it has another export.
        EventsGone: retention has dropped the next events.
        TopicMissing: there is no events topic.
    """
    topic, folder = settings.topic_prefix + EVENTS.name, to / kind
    with alone(folder):
        async with admin_client(settings.kafka) as admin:
            cluster, ids = await find_topic_ids(admin, [topic])
        if topic not in ids:
            raise TopicMissing(f"There is no topic {topic}: `execstream topics apply`.")
        target = ExportFolder(folder, kind, (cluster, topic, str(ids[topic])))
        async with consumer(settings.kafka) as asking:
            held = await extent(asking, topic)
        exporter = Exporter(kind, target, held)
        stored = target.state.positions
        async with EventConsumer(positions=stored, kafka_bootstrap=settings.kafka) as reader:
            await exporter.run(reader, report_progress, follow=follow, stop=stop)
    return exporter.exported
