"""Imported commands: the history of another system, as opposed to news.

The header of a record marks its command, and each entry and event of it has the mark. This is the
one place that decides about it: alerts, live windows, messages, webhooks, budgets and anything else
with consequences outside go by `imported` of an event or fact, which is unset for news.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from msgspec.structs import replace

from execstream.streams.append_time import Timed, record_time
from execstream.streams.journal import Entry

HEADER: Final = "imported"
_VALUE: Final = b"1"
HEADERS: Final = ((HEADER, _VALUE),)

# The longest live window, 24 hours, the one before it, and the running hour.
LIVE_SPAN: Final = timedelta(hours=49)


class Imported(StrEnum):
    """The time of an imported change, from its append time: RECENT within the live windows, which
    leave it out, and PAST before all of them, so that it counts in its own minute."""

    PAST = "past"
    RECENT = "recent"


class Marked(Timed, Protocol):
    """A record of Kafka's with headers."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def imported_as(at: datetime, record: Marked) -> Imported | None:
    """Return the mark of a change at `at` by `record`, which has headers; None for news."""
    if (HEADER, _VALUE) not in record.headers:
        return None
    # A time of the producer's is good enough here: only the importer sets this header.
    is_past = at <= record_time(record.timestamp) - LIVE_SPAN
    return Imported.PAST if is_past else Imported.RECENT


def mark_imported(entries: Iterable[Entry], imported: Imported) -> None:
    """Mark `entries` as those of an imported command."""
    for entry in entries:
        entry.detail = replace(entry.detail, imported=imported)
