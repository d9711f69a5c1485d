"""Points in the topics as people write them: the beginning, a time, or an offset per partition."""

import re
from datetime import datetime

import msgspec

from execstream.streams.commands import Time, parse_time
from execstream.streams.errors import Fatal
from execstream.streams.forms import enforcing

EARLIEST = "earliest"

# From where to read, or until where: a moment in Kafka's time, or Kafka's offsets by partition.
Point = datetime | dict[int, int]

_TIME = enforcing(Time)
_OFFSETS = re.compile(r"\d+:-?\d+(,\d+:-?\d+)*")


class NoPoint(Fatal):
    """A point cannot be read."""


def parse_point(text: str) -> Point:
    """`earliest` (an empty dict: no partition is named), `partition:offset,…` or an RFC 3339 time.

    Partitions that are not named keep the default. Offsets below zero are of the topic that was
    before this one was made. Raises NoPoint.
    """
    if text == EARLIEST:
        return {}
    if _OFFSETS.fullmatch(text):
        pairs = (pair.split(":") for pair in text.split(","))
        return {int(partition): int(offset) for partition, offset in pairs}
    try:
        return parse_time(msgspec.convert(text, _TIME))
    except (msgspec.ValidationError, ValueError):
        raise NoPoint(
            f"{text!r} is neither `earliest` nor a time like 2026-03-01T06:30:00Z nor offsets "
            "like 0:1200,1:950."
        ) from None
