"""Commands to try rules on, from wherever they are, and the rules to try."""

import runpy
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

from faust.types import TP

from agents.intake import Owned
from execstream.recovery.bundles import read_bundle
from execstream.recovery.replay.bounds import describe
from execstream.recovery.replay.sessions import session
from execstream.recovery.replay.topics import read_commands
from execstream.settings import Settings
from storage.run_ends import run_ends
from streams.bundles import CommandLine
from streams.commands import RunCommand
from streams.decoding import decode
from streams.events import NOWHERE
from streams.redriving import named_key
from streams.statuses import Table
from streams.what_if import End, NoTable, table_of

Told = Callable[[str, int, int], None]  # what is read, how much of it, and of how much

_BATCH = 2_000  # records
_TELL_EVERY = 10_000  # lines


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


async def stored_ends(settings: Settings, run_ids: Sequence[str]) -> dict[str, End]:
    """How these runs stand in the live schema."""
    async with session(settings.postgres, settings.schema_) as connection:
        return await run_ends(connection, run_ids)


async def commands_of(
    settings: Callable[[], Settings], against: str, tell: Told
) -> AsyncGenerator[RunCommand, None]:
    """Commands about runs, in order: of a file with one per line, of a bundle (`.zst`), or of a
    topic. What workers would bury is left out."""
    file = Path(against)
    if not file.exists():
        async for command in _of_topic(settings(), against, tell):
            yield command
        return
    for command in _understood(_values(file, tell)):
        yield command


def _values(file: Path, tell: Told) -> Iterator[bytes]:
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
                tell("bytes", read, size)


def _understood(values: Iterator[bytes]) -> Iterator[RunCommand]:
    for value in values:
        command = decode(named_key(value), value)
        if isinstance(command, RunCommand):
            yield command


async def _of_topic(settings: Settings, name: str, tell: Told) -> AsyncGenerator[RunCommand, None]:
    topic = await describe(settings.kafka, name)
    parts = [Owned(TP(name, n), 0, 0, NOWHERE, first, first) for n, first in topic.first.items()]
    total = sum(topic.end[part.number] - part.next for part in parts)
    read = 0
    async for batch in read_commands(settings.kafka, parts, topic.end, _BATCH):
        read += batch.size
        tell("commands", read, total)
        for portion in batch:
            for record in portion.records:
                command = decode(record.key, record.value, settings.max_command_bytes)
                if isinstance(command, RunCommand):
                    yield command
