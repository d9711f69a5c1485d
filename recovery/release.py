"""Releasing records from quarantine: copies of them go back to the commands topic, in order.

A page at a time, until nothing of the key waits any more; commands that come meanwhile are parked
behind and follow. Workers ensure that each takes effect once, however often it is released
(`streams/quarantine.py`): an interrupted release may be repeated.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

import asyncpg

from execstream.kafka.producer import Producer
from execstream.recovery.redrive import comes, nameable
from execstream.storage.log.dead_letters import RecordPosition, letter_at
from execstream.storage.log.held_records import (
    Held,
    HeldRecord,
    copies_of,
    list_held,
    list_records,
    trace_at,
)
from execstream.storage.log.outcomes import recorded_outcome
from execstream.streams.decoding import decode
from execstream.streams.errors import Fatal, Transient
from execstream.streams.outcomes import Outcome
from execstream.streams.quarantine import Release

PAGE = 20  # records, of 8 MiB at most
MOST_KEYS = 100_000


class NotHeld(Fatal):
    """Nothing of that name is in quarantine."""


class NotReached(Transient):
    """No worker has reached the copies in time."""


class Released(NamedTuple):
    """A record that was released, or that fails again.

    Attributes:
        offset: that of the record; `copy`: that of its copy.
        outcome: of the copy: applied, duplicate, refused, dead, quarantined, or unknown.
    """

    partition: int
    offset: int
    copy: int
    command_id: str | None
    outcome: str
    reason: str | None


async def find_held(db: asyncpg.Pool, topic: str, name: str) -> Held:
    """The first record of a key: of the run, or the user, `name`, or at PARTITION/OFFSET. Raises
    NotHeld."""
    for held in await list_held(db, topic, MOST_KEYS):
        if name.encode() == held.key or name == f"{held.partition}/{held.offset}":
            return held
    raise NotHeld(f"Nothing of {name} is in quarantine: see `execstream quarantine list`.")


class Releasing:
    """Releases records in quarantine through `producer`, which sends to `topic`."""

    def __init__(self, db: asyncpg.Pool, producer: Producer, topic: str, max_bytes: int) -> None:
        self._db = db
        self._producer = producer
        self._topic = topic
        self._max_bytes = max_bytes

    async def release(self, held: Held, first: Release) -> AsyncGenerator[Released, None]:
        """Release all records of the key of `held`; `first` is the release of the first of them.

        Ends at a record that fails again. Raises NotReached.
        """
        release = first
        while page := await list_records(self._db, held, PAGE, values=True):
            copies = await self._send(page, release)
            if not await comes(self._db, self._topic, copies[-1]):
                raise NotReached(
                    "The copies are on the commands topic, and no worker has come to them for a "
                    "while: see `execstream doctor`."
                )
            for record, copy in zip(page, copies, strict=True):
                released = await self._released(record, copy)
                yield released
                if released.outcome == "quarantined":
                    return
            release = Release.RETRY

    async def _send(self, page: Sequence[HeldRecord], first: Release) -> list[RecordPosition]:
        return [await self._producer.send(*copy) for copy in copies_of(page, first)]

    async def _released(self, record: HeldRecord, copy: RecordPosition) -> Released:
        outcome, reason = await self._outcome(record, copy)
        return Released(*record[:2], copy[1], record.command_id, outcome, reason)

    async def _outcome(self, record: HeldRecord, copy: RecordPosition) -> tuple[str, str | None]:
        if trace := await trace_at(self._db, self._topic, *copy):
            return "quarantined", str(trace.outcome.detail.get("error", "")) or None
        if dead := await letter_at(self._db, self._topic, copy):
            return "dead", dead.reason
        # By now it has been decoded elsewhere, and did no harm.
        command = nameable(decode(record.key, record.value, self._max_bytes))
        if command is None:
            return "unknown", None
        outcome = await recorded_outcome(self._db, command, self._topic, *copy)
        return _name(outcome), getattr(outcome, "reason", None)


def _name(outcome: Outcome | None) -> str:
    """`unknown`: its run was erased after it."""
    return "unknown" if outcome is None else type(outcome).__name__.lower()
