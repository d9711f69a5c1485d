"""Commands as records, and records as lines of a file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

Json = Any
Fields = dict[str, Json]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

encode = msgspec.json.Encoder().encode


class Sent(NamedTuple):
    """A record of `execution.commands.v1`: its key and its compact JSON."""

    key: bytes
    value: bytes


class _Keys(msgspec.Struct):
    graph_exec_id: str | None = None
    user_id: str | None = None


_decode_keys = msgspec.json.Decoder(_Keys).decode


def write_lines(file: Path, records: Iterable[Sent]) -> int:
    """Write the values, one a line; return their number."""
    written = 0
    with file.open("wb") as lines:
        for record in records:
            lines.write(record.value + b"\n")
            written += 1
    return written


def read_lines(file: Path) -> Iterator[Sent]:
    """The records of such a file; the key of a line that names none is empty."""
    with file.open("rb") as lines:
        for line in lines:
            value = line.rstrip(b"\n")
            yield Sent(key_of(value), value)


def key_of(value: bytes) -> bytes:
    """The run, else the user of a command; empty when it cannot be read."""
    with suppress(msgspec.DecodeError):
        keys = _decode_keys(value)
        return (keys.graph_exec_id or keys.user_id or "").encode()
    return b""


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


class Clock:
    """Simulated time in microseconds since 1970, and the wire's form of it.

    Commands are dated no later than `latest()`, however far simulated time is.
    """

    def __init__(self, start: datetime, latest: Callable[[], datetime] | None = None) -> None:
        self.now = _microseconds(start)
        self._latest = latest
        self._second = -1
        self._prefix = ""

    def at(self) -> str:
        """`now` as RFC 3339 with microseconds."""
        now = self.now if self._latest is None else min(self.now, _microseconds(self._latest()))
        second, microsecond = divmod(now, 1_000_000)
        if second != self._second:
            self._second = second
            self._prefix = f"{_EPOCH + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}"
        return f"{self._prefix}.{microsecond:06d}Z"
