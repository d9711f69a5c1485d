"""Bundles of an incident: taken out of an installation, and looked at on a laptop.

A bundle is held in memory; it is meant for the runs of an incident, not for all there are.
"""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import cramjam
from faust.types import TP
from msgspec import Raw

from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.config.settings import Settings
from execstream.recovery.bundles.bundle_rows import (
    catalogue_of,
    check,
    entries_of,
    has_runs,
    known_runs,
    refusals_of,
    write_others,
    write_runs,
)
from execstream.recovery.bundles.lines import (
    VERSION,
    AnyLine,
    BrokenBundle,
    CommandLine,
    EndLine,
    EntryLine,
    Redactor,
    RefusalLine,
    encode_line,
    in_order,
    read_lines,
)
from execstream.recovery.bundles.redaction import Redaction
from execstream.recovery.replay.bounds import describe
from execstream.recovery.replay.command_reader import read_commands
from execstream.recovery.republish.journal_sources import reaches
from execstream.storage import connections
from execstream.storage.connections import REPLAY
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.tables import CONSUMER_OFFSETS, JOURNAL
from execstream.storage.unreadable_rows import Cell, UnreadableRun, note, reading, reading_row
from execstream.streams.errors import Fatal
from execstream.streams.events import NOWHERE
from execstream.streams.journal import EntryType
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS

_BATCH = 2_000  # records


class NotExportable(Fatal):
    """A run is not there, or its journal is not."""


class SchemaInUse(Fatal):
    """A bundle goes into a fresh schema only."""


@dataclass
class Export:
    """The content exported from `runs` runs. `commands_gone`: retention of the topic took some of
    them.
    """

    runs: int = 0
    lines: list[AnyLine] = field(default_factory=list)
    commands_gone: bool = False

    def count(self, kind: type[AnyLine]) -> int:
        return sum(isinstance(line, kind) for line in self.lines)


async def export_runs(
    settings: Settings,
    run_ids: Sequence[UUID],
    redaction: Redaction,
    report_progress: ProgressCallback,
) -> Export:
    """Everything about these runs, redacted; those that cannot be read are left out, and noted.
    Raises NotExportable; UnreadableRun when it is the only one.

    Of their commands those between the first and the last that had an effect or were refused.
    """
    export = Export()
    async with connections.connection(settings.postgres, settings.schema_, REPLAY) as connection:
        known = await known_runs(connection, run_ids)
        exported = []
        for run_id in run_ids:
            if str(run_id) not in known:
                raise NotExportable(
                    f"There is no run {run_id}: `execstream list` shows those there are."
                )
            try:
                export.lines += await _lines_of(connection, run_id, is_whole=known[str(run_id)])
                exported.append(run_id)
            except UnreadableRun as error:
                if len(run_ids) == 1:
                    raise
                note(error)
        export.runs = len(exported)
        export.lines += await catalogue_of(connection, exported)
        await _add_commands(settings, connection, export, report_progress)
    export.lines = Redactor(redaction).redacted(export.lines)
    return export


async def _lines_of(
    connection: asyncpg.Connection, run_id: UUID, *, is_whole: bool
) -> list[AnyLine]:
    """Journal and refusals of a run. Raises NotExportable, UnreadableRun."""
    entries = await entries_of(connection, run_id)
    has_beginning = bool(entries) and entries[0].type == EntryType.GRAPH_CREATED
    if not has_beginning and not is_whole:
        raise NotExportable(f"The journal of run {run_id} was erased or trimmed.")
    with reading(run_id, Cell(JOURNAL.name)):
        if not entries:
            raise LookupError("there is no entry")
    check(entries)
    return [*entries, *await refusals_of(connection, run_id)]


async def _add_commands(
    settings: Settings,
    connection: asyncpg.Connection,
    export: Export,
    report_progress: ProgressCallback,
) -> None:
    name = settings.topic_prefix + COMMANDS.name
    reach = await reaches(connection, name)
    topic = await describe(settings.kafka, name)
    parts, ends = [], {}
    for number, (first, last) in _sources(export.lines).items():
        with reading_row(CONSUMER_OFFSETS.name):
            base = reach[number].base
        begin = max(first - base, topic.first[number])
        export.commands_gone |= begin > first - base
        ends[number] = min(last - base + 1, topic.end[number])
        parts.append(AssignedPartition(TP(name, number), 0, base, NOWHERE, begin, begin))
    keys = {line.graph_exec_id.encode() for line in export.lines if isinstance(line, EntryLine)}
    async with aclosing(_commands(settings, parts, ends, keys, report_progress)) as commands:
        async for place, value in commands:
            line = CommandLine(partition=place[0], offset=place[1], value=Raw(value))
            export.lines.append(line)


def _sources(lines: Sequence[AnyLine]) -> dict[int, tuple[int, int]]:
    """The first and the last source, by partition."""
    spans: dict[int, tuple[int, int]] = {}
    for line in lines:
        if isinstance(line, EntryLine | RefusalLine):
            partition, offset = line.source[:2]
            first, last = spans.get(partition, (offset, offset))
            spans[partition] = (min(first, offset), max(last, offset))
    return spans


async def _commands(
    settings: Settings,
    parts: Sequence[AssignedPartition],
    ends: dict[int, int],
    keys: set[bytes],
    report_progress: ProgressCallback,
) -> AsyncGenerator[tuple[tuple[int, int], bytes], None]:
    total = sum(max(0, ends[part.number] - part.next) for part in parts)
    read = 0
    async for batch in read_commands(settings.kafka, parts, ends, lambda: _BATCH):
        read += batch.size
        report_progress("commands", read, total)
        for part in batch:
            for record in part.records:
                if record.key in keys and record.value:
                    yield (record.partition, record.offset), record.value


def write_bundle(lines: Sequence[AnyLine], file: Path) -> int:
    """Write the bundle, as a whole or not at all; its size in bytes."""
    end = EndLine(version=VERSION, lines=len(lines))
    text = b"\n".join(map(encode_line, [*lines, end])) + b"\n"
    packed = bytes(cramjam.zstd.compress(text))
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(packed)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(packed)


def read_bundle(file: Path) -> list[AnyLine]:
    """The lines of a bundle. Raises BrokenBundle, and OSError where there is no file."""
    packed = file.read_bytes()
    try:
        text = bytes(cramjam.zstd.decompress(packed))
    except cramjam.DecompressionError as error:
        raise BrokenBundle(f"{file} is no bundle: {error}.") from error
    return read_lines(text)


async def replay_bundle(settings: Settings, file: Path, schema: str) -> int:
    """Fold the journal of a bundle into `schema`, which is made; return its number of runs."""
    lines = read_bundle(file)
    await migrate(settings.postgres, schema)
    async with (
        connections.connection(settings.postgres, schema, REPLAY) as connection,
        connection.transaction(),
    ):
        if await has_runs(connection):
            raise SchemaInUse(f"The schema {schema} has runs already: name another with --into.")
        await write_others(connection, lines)
        return await write_runs(connection, COMMANDS.name, in_order(lines))
