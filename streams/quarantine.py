"""Copies of records in quarantine, by which an operator has them retried or skipped.

A copy goes to the partition of its original, behind everything that is there. Workers take it for
its original when that is the first of its key in quarantine; so each command of a run takes effect
once, in the order of the originals, at an offset of the log.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from execstream.streams.decoding import Sender
from execstream.streams.outcomes import Quarantined, QuarantineReason

Headers = Sequence[tuple[str, bytes | None]]

OFFSET = "quarantine.offset"  # header: offset of the original
ACTION = "quarantine.action"  # header: a `Release`
HEADERS = (OFFSET, ACTION)

MOST_PARKED = 1_000  # records behind the first one of a key
MOST_PARKED_BYTES = 64 * 1024 * 1024  # of values, keys and headers of these
# Below zero they are of the topic that was before `offsets rebase`.
_OFFSET = re.compile(rb"-?[0-9]{1,18}")


class Release(StrEnum):
    """The ways in which a record leaves quarantine."""

    RETRY = "retry"  # applied again
    SKIP = "skip"  # as a dead letter


class Origin(NamedTuple):
    """The fields named by the headers of a copy."""

    offset: int
    release: Release


def origin_of(headers: Headers) -> Origin | None:
    """The origin of a copy; None for a record that is not one, or names nothing that can be."""
    named = {name: value for name, value in headers if name in HEADERS}
    offset = named.get(OFFSET) or b""
    if not _OFFSET.fullmatch(offset):
        return None
    is_skip = named.get(ACTION) == Release.SKIP.encode()
    return Origin(int(offset), Release.SKIP if is_skip else Release.RETRY)


def copy_headers(headers: Headers, offset: int, release: Release) -> list[tuple[str, bytes | None]]:
    """Headers of the copy of the record at `offset`."""
    origin = [(OFFSET, str(offset).encode()), (ACTION, release.encode())]
    return [header for header in headers if header[0] not in HEADERS] + origin


def is_full(records: int, size: int) -> bool:
    """Return whether no more records are parked behind the first of `records` in quarantine, of
    `size` bytes.
    """
    return records > MOST_PARKED or size >= MOST_PARKED_BYTES


class SetAside(NamedTuple):
    """A record that is put into quarantine in place of its effect. `failed`: offset of the record
    of which this is a copy that fails."""

    outcome: Quarantined
    sender: Sender
    failed: int | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it waits to be released; a copy does not, its original does."""
        return self.outcome.reason is not QuarantineReason.COPY
