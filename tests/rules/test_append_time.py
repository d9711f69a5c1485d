"""Times of senders beside those of the broker."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.append_time import MOST_AHEAD, append_time, is_skewed

CREATED, APPENDED = 0, 1
MICROSECOND = timedelta(microseconds=1)


def appended_at(milliseconds: int, kind: int = APPENDED) -> ConsumerRecord:
    """A record of that time."""
    return ConsumerRecord("commands", 0, 0, milliseconds, kind, b"", b"", None, 0, 0, ())


@given(st.integers(0, 4_102_444_800_000))
def test_an_hour_ahead_is_the_most(milliseconds: int) -> None:
    """To the microsecond."""
    record = appended_at(milliseconds)
    appended = append_time(record)
    assert appended is not None
    most = appended + MOST_AHEAD
    assert not is_skewed(most, record)
    assert is_skewed(most + MICROSECOND, record)


@pytest.mark.parametrize(("year", "is_ahead"), [(1, False), (9999, True)])
def test_any_time_can_be_compared(year: int, is_ahead: bool) -> None:
    """Times dated back are not skewed, nor is any without an append time."""
    at = datetime(year, 12, 31, 23, 59, 59, 999_999, UTC)
    assert is_skewed(at, appended_at(0)) == is_ahead
    assert not is_skewed(at, appended_at(0, CREATED))
