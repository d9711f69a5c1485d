"""`execstream check`: the outcome that a worker would give to commands that were not sent yet."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number

from execstream.cli.common import FileOrStdin, Json, print_json, report_unknown_variables
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import out
from execstream.config.settings import read_settings
from execstream.streams.decoding import decode
from execstream.streams.outcomes import Dead, described
from execstream.streams.partitions import partition_of
from execstream.streams.progress import ProgressCallback
from execstream.streams.redriving import named_key
from execstream.streams.topics import COMMANDS

REPORT_EVERY = 1_000  # lines


class Checked(NamedTuple):
    """One line. `dead` is None for a command; `partition` is None where there is no key."""

    number: int
    key: bytes | None
    partition: int | None
    dead: Dead | None


async def check(
    file: FileOrStdin = Path("-"),
    /,
    *,
    keys: Annotated[bool, Parameter(negative="")] = False,
    partitions: Annotated[int, Parameter(validator=Number(gte=1))] = COMMANDS.partitions,
    json: Json = False,
) -> int:
    """Find the lines that would become dead letters, and the partitions of all. Nothing is sent.

    Empty lines are left out. No server is needed. Whether the rules accept a command depends on its
    run, which is not read. Exit code 1 when a line is wrong.

    Parameters
    ----------
    file
        File of commands, one JSON object per line; - for stdin.
    keys
        Each line begins with the record's key and a tab. Without, the command names
        the key.
    partitions
        Number of partitions of the commands topic.
    """
    report_unknown_variables()
    limit = read_settings().max_command_bytes
    wrong = 0
    found: Counter[int | None] = Counter()
    size = None if file == Path("-") else file.stat().st_size
    with (
        sys.stdin.buffer if size is None else file.open("rb") as stream,
        counted(quiet=json or size is None) as report_progress,
    ):
        lines = _reported(stream, size or 0, report_progress)
        for line in checked(lines, limit, partitions, has_keys=keys):
            wrong += line.dead is not None
            found[line.partition] += 1
            if json:
                print_json(_document(line))
            elif line.dead is not None:
                sentence = f"Line {line.number}: {line.dead.reason}. {described(line.dead)}."
                out.print(sentence, soft_wrap=True)
    if not json:
        _print_sums(found, wrong, partitions)
    return 1 if wrong else 0


def checked(
    lines: Iterable[bytes], limit: int, partitions: int, *, has_keys: bool = False
) -> Iterator[Checked]:
    """Judge each line, of up to `limit` bytes, as a worker will judge the record made of it."""
    for number, line in enumerate(lines, start=1):
        value = line.rstrip(b"\r\n")
        if not value:
            continue
        if has_keys:
            before, tab, after = value.partition(b"\t")
            key, value = (before, after) if tab else (None, value)
        else:
            key = named_key(value)
        judged = decode(key, value, limit)
        dead = judged if isinstance(judged, Dead) else None
        yield Checked(number, key, None if key is None else partition_of(key, partitions), dead)


def _reported(stream: BinaryIO, size: int, report_progress: ProgressCallback) -> Iterator[bytes]:
    """The lines of `stream`; progress is in bytes of `size`."""
    done = 0
    for number, line in enumerate(stream, start=1):
        yield line
        done += len(line)
        if number % REPORT_EVERY == 0:
            report_progress("bytes", done, size)


def _document(line: Checked) -> dict[str, Any]:
    detail = dict(line.dead.detail) if line.dead is not None else {}
    return {
        "line": line.number,
        "key": None if line.key is None else line.key.decode(errors="replace"),
        "partition": line.partition,
        "reason": None if line.dead is None else line.dead.reason,
        "message": detail.pop("message", None),
        "detail": detail or None,
    }


def _print_sums(found: Counter[int | None], wrong: int, partitions: int) -> None:
    out.print(f"{found.total():,} lines, {wrong:,} of them wrong.")
    numbers = sorted(number for number in found if number is not None)
    parts = [f"{number}: {found[number]:,}" for number in numbers]
    if found[None]:
        parts.append(f"without a key: {found[None]:,}")
    if parts:
        out.print(f"Lines by partition of {partitions}: {', '.join(parts)}.", soft_wrap=True)
