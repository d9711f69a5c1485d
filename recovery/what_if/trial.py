"""Commands to try rules on, from any source, and the rules to try."""

import runpy
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

from faust.types import TP

from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.config.settings import Settings
from execstream.recovery.bundles.bundles import read_bundle
from execstream.recovery.bundles.lines import CommandLine
from execstream.recovery.offsets.offset_rows import stored_positions
from execstream.recovery.replay.bounds import OutOfReach, describe
from execstream.recovery.replay.command_reader import read_commands
from execstream.recovery.what_if.comparison import (
    Compared,
    Difference,
    NoTable,
    WhatIf,
    table_of,
)
from execstream.recovery.what_if.run_ends import run_ends, trimmed_runs
from execstream.storage.connections import snapshot
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.errors import Fatal, Unreachable
from execstream.streams.events import NOWHERE
from execstream.streams.progress import ProgressCallback
from execstream.streams.redriving import named_key
from execstream.streams.statuses import Table

_BATCH = 2_000  # records
_TELL_EVERY = 10_000  # lines


class NoCommands(Fatal):
    """There is nothing to try rules on."""


def read_table(file: Path) -> Table:
    """The transition table that a Python file calls `ALLOWED_FROM`; the file is run.

    Raises NoTable, and OSError where there is no file.
    """
    try:
        found = runpy.run_path(str(file))
    except OSError:
        raise
    except Exception as error:  # whatever somebody's file raises
        raise NoTable(f"{file} cannot be run: {type(error).__name__}: {error}.") from error
    if "ALLOWED_FROM" not in found:
        raise NoTable(f"{file} defines no ALLOWED_FROM, as streams/statuses.py does.")
    return table_of(found["ALLOWED_FROM"])


async def try_table(
    settings: Callable[[], Settings], table: Table, against: str, report_progress: ProgressCallback
) -> tuple[WhatIf, list[Difference]]:
    """Fold the commands in `against` under `table` beside the rules in force. Raises NoCommands."""
    tried = WhatIf(table)
    await _fold(tried, commands_of(settings, against, report_progress), against)
    return tried, tried.differences()


async def compare_with_stored(
    settings: Settings, against: str, report_progress: ProgressCallback
) -> tuple[Compared, list[Difference]]:
    """Fold the commands in `against` under the rules of this version, to compare with the stored
    runs. Of the topic that workers apply, only commands with stored effects are taken. Raises
    NoCommands.
    """
    compared = Compared()
    async with snapshot(settings.postgres, settings.schema_) as connection:
        applied = {
            one.partition: one.next_offset
            for one in await stored_positions(connection)
            if one.consumer == "apply" and one.topic == against
        }
        await _fold(
            compared, commands_of(lambda: settings, against, report_progress, applied), against
        )
        run_ids = compared.run_ids()
        stored, unreadable = await run_ends(connection, run_ids)
        trimmed = await trimmed_runs(connection, run_ids)
    return compared, compared.differences(stored, trimmed | unreadable)


async def _fold(
    into: WhatIf | Compared, commands: AsyncGenerator[RunCommand, None], against: str
) -> None:
    async with aclosing(commands):
        async for command in commands:
            into.add(command)
    if not into.commands:
        raise NoCommands(f"There is no command about a run in {against}.")


async def commands_of(
    settings: Callable[[], Settings],
    against: str,
    report_progress: ProgressCallback,
    until: Mapping[int, int] | None = None,
) -> AsyncGenerator[RunCommand, None]:
    """Commands about runs, in order: of a file with one per line, of a bundle (`.zst`), or of a
    topic, up to the offsets of `until` by partition. Records that would become dead letters are
    left out.
    """
    file = Path(against)
    if not file.exists():
        async for command in _of_topic(settings(), against, report_progress, until):
            yield command
        return
    for command in _understood(_values(file, report_progress)):
        yield command


def _values(file: Path, report_progress: ProgressCallback) -> Iterator[bytes]:
    if file.suffix == ".zst":
        for one in read_bundle(file):
            if isinstance(one, CommandLine):
                yield bytes(one.value)
        return
    size, read = file.stat().st_size, 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines):
            yield line
            read += len(line)
            if number % _TELL_EVERY == 0:
                report_progress("bytes", read, size)


def _understood(values: Iterator[bytes]) -> Iterator[RunCommand]:
    for value in values:
        command = decode(named_key(value), value)
        if isinstance(command, RunCommand):
            yield command


async def _of_topic(
    settings: Settings,
    name: str,
    report_progress: ProgressCallback,
    until: Mapping[int, int] | None,
) -> AsyncGenerator[RunCommand, None]:
    try:
        topic = await describe(settings.kafka, name)
    except (OutOfReach, Unreachable) as error:
        raise type(error)(f"There is no file {name}. As a topic: {error}") from error
    ends = {n: min(end, until.get(n, 0)) if until else end for n, end in topic.end.items()}
    parts = [
        AssignedPartition(TP(name, n), 0, 0, NOWHERE, first, first)
        for n, first in topic.first.items()
    ]
    total = sum(max(0, ends[part.number] - part.next) for part in parts)
    read = 0
    async for batch in read_commands(settings.kafka, parts, ends, lambda: _BATCH):
        read += batch.size
        report_progress("commands", read, total)
        for portion in batch:
            for record in portion.records:
                command = decode(record.key, record.value, settings.max_command_bytes)
                if isinstance(command, RunCommand):
                    yield command
