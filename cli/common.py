"""Helpers that commands share: settings, tables, options, and JSON on stdout."""

import asyncio
import getpass
import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from execstream.cli.endings import end_without_reader
from execstream.cli.terminal import Table, Text, err
from execstream.config.logs import configure_logging
from execstream.config.settings import Settings, load_settings
from execstream.config.unknown_variables import unknown_variables
from execstream.kafka import header_decoding
from execstream.kafka.security import configure_security
from execstream.storage.connections import AWAY, WRITE, connect, connection
from execstream.streams import exact_json
from execstream.streams.errors import Fatal
from execstream.streams.moments import NoMoment, parse_instant

# Whether to print data as JSON: one document, or one line per item.
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))]

Limit = Annotated[int, Parameter(validator=Number(gte=1), help="How many at most.")]


def _no_option(_type: object, file: Path) -> None:
    """A name that begins with a hyphen is taken for the sake of the one that is nothing else."""
    if str(file).startswith("-") and file != Path("-"):
        raise ValueError(f"Unknown option {file}; a file of that name is ./{file}")


# A file with a line per command; - is stdin.
FileOrStdin = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_no_option)]

SESSION_PATIENCE = 5.0  # seconds until Postgres counts as away

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"(\d{1,5})([smhd])")


class NoSince(Fatal):
    """The value of `--since` cannot be read."""


def start() -> Settings:
    """Settings of this process, with logging set up, and clients of Kafka that read any record."""
    settings = load_settings()
    report_unknown_variables()
    header_decoding.install()
    configure_logging(settings)
    configure_security(settings.kafka_security)
    return settings


async def require_sessions(settings: Settings) -> None:
    """Raise SettingsNotApplied if a pooler answers instead of Postgres.

    Later callers wait for a Postgres that is unavailable.
    """
    with suppress(*AWAY):
        async with (
            asyncio.timeout(SESSION_PATIENCE),
            connection(settings.postgres, settings.schema_, WRITE),
        ):
            pass


def report_unknown_variables() -> None:
    """Print a sentence for each variable that looks like a setting and is none."""
    for sentence in unknown_variables():
        err.print(sentence, soft_wrap=True)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """The pool to read from, closed afterwards."""
    db = await connect(settings.postgres, settings.schema_)
    try:
        yield db
    finally:
        await db.close()


def table(*columns: str, free: Collection[str] = ()) -> Table:
    """An empty table without lines; columns of `free` text may be cut, ids and figures may not."""
    made = Table(free)
    for column in columns:
        made.add_column(Text(column), no_wrap=True, overflow="ellipsis")
    return made


def print_json(value: Any, *, indented: bool = False) -> None:
    """Print JSON on stdout, now, since others may be reading along; one line, unless `indented`.

    Numbers keep their value.
    """
    try:
        print(indented_json(value) if indented else exact_json.encode(value).decode(), flush=True)
    except BrokenPipeError:
        end_without_reader()


def indented_json(value: Any) -> str:
    """Return JSON for people, on several lines."""
    return msgspec.json.format(exact_json.encode(value), indent=2).decode()


def print_more() -> None:
    """Print that a list was cut."""
    err.print("There are more: raise --limit.")


def span(text: str) -> timedelta | None:
    """A span of time like 90s, 5m, 1h or 7d; None for another text."""
    match = _SPAN.fullmatch(text)
    return match and timedelta(**{_UNITS[match[2]]: int(match[1])})


def actor(settings: Settings) -> str:
    """The name of the operator."""
    return settings.actor or getpass.getuser()


def since(text: str, now: datetime) -> datetime:
    """A time, or a span before `now` like 90s, 5m, 1h or 7d. Raises NoSince."""
    if (passed := span(text)) is not None:
        return now - passed
    try:
        return parse_instant(text)
    except NoMoment:
        raise NoSince(
            f"{text!r} is neither a span like 5m, 1h or 7d nor a time like 2026-03-01T06:30:00Z."
        ) from None
