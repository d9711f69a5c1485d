"""The append time of a record, as opposed to the times that its producer names.

Figures with consequences, and alerts, depend on the append time. A topic that was made before its
broker kept append times has producers' times in its records, which count as unknown.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

MOST_AHEAD: Final = timedelta(hours=1)
_MOST_AHEAD_MILLISECONDS = MOST_AHEAD // timedelta(milliseconds=1)
_APPENDED = 1  # Kafka's number of the timestamp type LogAppendTime
_LAST_MILLISECOND = 253_402_300_799_000  # 9999-12-31T23:59:59Z


class Timed(Protocol):
    """A record of Kafka's; `timestamp` in milliseconds since 1970, of `timestamp_type`."""

    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int | None: ...


def append_time(record: Timed) -> datetime | None:
    """The broker's time of `record`; None when the record has its producer's instead."""
    return record_time(record.timestamp) if record.timestamp_type == _APPENDED else None


def is_skewed(at: datetime, record: Timed) -> bool:
    """Return whether `at`, a time named by the producer of `record`, is more than an hour after the
    append time; false if that is unknown.
    """
    # Seconds rounded alike, so that they compare as the times do; without making a time of them.
    return (
        record.timestamp_type == _APPENDED
        and at.timestamp() > (record.timestamp + _MOST_AHEAD_MILLISECONDS) / 1000
    )


def record_time(milliseconds: int) -> datetime:
    """A record's time; a producer may have set any number, so it is brought into
    the years that there are."""
    return datetime.fromtimestamp(min(max(milliseconds, 0), _LAST_MILLISECOND) / 1000, UTC)
