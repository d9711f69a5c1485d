"""The mark of imported commands, by their header and their time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from execstream.streams.imported import HEADERS, LIVE_SPAN, Imported, imported_as
from execstream.streams.totals.alert_rules import SPANS

APPENDED = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Record:
    headers: list[tuple[str, bytes | None]]
    timestamp: int = int(APPENDED.timestamp() * 1_000)
    timestamp_type: int | None = 1


IMPORTED = Record([("traceparent", b"00"), *HEADERS])


def test_a_change_is_past_once_no_live_window_can_reach_it() -> None:
    """The windows of a block are the day, the day before it, and the running minute; the usual rate
    of alerts ends a day before their longest span."""
    assert imported_as(APPENDED - LIVE_SPAN, IMPORTED) is Imported.PAST
    assert imported_as(APPENDED - LIVE_SPAN + MICROSECOND, IMPORTED) is Imported.RECENT
    assert imported_as(APPENDED + LIVE_SPAN, IMPORTED) is Imported.RECENT
    assert timedelta(days=2, minutes=1) <= LIVE_SPAN
    assert timedelta(days=1, minutes=SPANS[-1] + 1) <= LIVE_SPAN


@pytest.mark.parametrize(
    "header", [("imported", b"0"), ("imported", b""), ("imported", None), ("Imported", b"1")]
)
def test_no_other_header_marks(header: tuple[str, bytes | None]) -> None:
    assert imported_as(APPENDED - LIVE_SPAN, Record([header])) is None
