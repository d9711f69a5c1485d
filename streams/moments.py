"""Moments in the life of a run as people write them: the number of an entry, or a time."""

from datetime import datetime

from execstream.streams.commands import parse_time
from execstream.streams.errors import Fatal

# The `seq` of the last entry that counts, or a time: everything up to the last entry by then.
Moment = int | datetime

_MOST_DIGITS = 18  # digits that a bigint always holds


class NoMoment(Fatal):
    """A moment cannot be read."""


def parse_moment(text: str) -> Moment:
    """The `seq` of an entry, 1 or greater, or an RFC 3339 time. Raises NoMoment."""
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0:
        return int(text)
    return parse_instant(text)


def parse_instant(text: str) -> datetime:
    """An RFC 3339 time with its zone. Raises NoMoment."""
    try:
        if datetime.fromisoformat(text.upper()).tzinfo is not None:
            return parse_time(text)
    except ValueError:
        pass
    raise NoMoment(
        f"{text!r} is no moment: give a time with its zone like 2026-03-01T06:30:00Z or, of one "
        "run, the number of an entry like 12."
    )
