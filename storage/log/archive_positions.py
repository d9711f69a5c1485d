"""How far the archive is, as Postgres knows it: the table `archived`.

The folder itself is the truth. The table is for commands that cannot see it: `topics check`,
`doctor` and `retention`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from execstream.kafka.cluster import Bounds, Brokers, Range
from execstream.kafka.transactions import PartitionKey
from execstream.streams.topics import TOPICS

LATE = 0.5  # of the retention; a record that waits so long for the archive is late

_SAVE = """
insert into archived (topic, partition, next_offset, base, folder, archived_at)
values ($1, $2, $3, $4, $5, now())
on conflict (topic, partition) do update
   set next_offset = excluded.next_offset, base = excluded.base, folder = excluded.folder,
       archived_at = excluded.archived_at
"""
_LOAD = """
select topic, partition, next_offset, folder from archived order by topic, partition
"""
_BASES = "select partition, base from consumer_offset where consumer = 'apply' and topic = $1"


class ArchivedTo(NamedTuple):
    """The archive in `folder` has a partition up to, not including, Kafka's `next_offset`."""

    topic: str
    partition: int
    next_offset: int
    folder: str


class Backlog(NamedTuple):
    """The records of a partition that the archive lacks. `lost`: offsets that retention deleted
    before they were archived; `waiting_since`: the append time of the oldest
    record that is not archived yet.
    """

    at: ArchivedTo
    lost: int
    waiting_since: datetime | None


async def save_position(opened: asyncpg.Connection, at: ArchivedTo, base: int) -> None:
    """Note how far the archive is."""
    await opened.execute(_SAVE, at.topic, at.partition, at.next_offset, base, at.folder)


async def archived_to(opened: asyncpg.Connection | asyncpg.Pool) -> list[ArchivedTo]:
    """By topic and partition; empty where there is no archive, or no schema yet."""
    if not await opened.fetchval("select to_regclass('archived') is not null"):
        return []
    return [ArchivedTo(*row) for row in await opened.fetch(_LOAD)]


def remedy_of(found: Sequence[Backlog]) -> str:
    """The way out of complaints."""
    folder = found[0].at.folder if found else ""
    return (
        f"Keep `execstream archive --to {folder} --follow` running. Where records are missing "
        "already, archive to another folder: nothing is archived behind a gap."
    )


async def bases_of(opened: asyncpg.Connection, topic: str) -> dict[int, int]:
    """The bases of the partitions of the commands topic from which something was applied."""
    return dict(await opened.fetch(_BASES, topic))


async def backlogs(brokers: Brokers, archived: Sequence[ArchivedTo]) -> list[Backlog]:
    """Compare the archive with the topics. Raises ConnectionError while Kafka is down."""
    bounds: Mapping[PartitionKey, Bounds] = (await brokers.bounds()).of if archived else {}
    waiting = {
        (at.topic, at.partition): Range(max(at.next_offset, held.begin), held.stable)
        for at in archived
        if (held := bounds.get((at.topic, at.partition)))
        and max(at.next_offset, held.begin) < held.stable
    }
    first_times = await brokers.first_times(waiting)
    return [
        Backlog(
            at,
            max(0, bounds[key].begin - at.next_offset) if key in bounds else 0,
            _moment(first_times.get(key)),
        )
        for at in archived
        for key in [(at.topic, at.partition)]
    ]


def complaint(one: Backlog, days: int | None, now: datetime) -> str | None:
    """A clause about a partition that retention, of so many `days`, has overtaken or will soon; in
    a topic without retention (None) only newer records replace older ones.
    """
    if days is None:
        return None
    at, place = one.at.next_offset, f"partition {one.at.partition} of {one.at.topic}"
    if one.lost:
        return (
            f"retention deleted offsets {at} to {at + one.lost - 1} of {place} before they were "
            "archived"
        )
    if one.waiting_since is None or now - one.waiting_since <= LATE * timedelta(days):
        return None
    gone = one.waiting_since + timedelta(days)
    return (
        f"{place} is archived up to offset {at}, and retention deletes the next record on "
        f"{gone:%Y-%m-%d}"
    )


async def find_complaints(
    brokers: Brokers, opened: asyncpg.Connection | asyncpg.Pool, prefix: str
) -> tuple[list[Backlog], list[str]]:
    """How far the archive is, and clauses about records that retention takes from it; both empty
    without an archive.

    Raises ConnectionError while Kafka is unavailable.
    """
    found = await backlogs(brokers, await archived_to(opened))
    days = {prefix + topic.name: topic.retention_days for topic in TOPICS}
    now = datetime.now(UTC)
    clauses = [complaint(one, days.get(one.at.topic), now) for one in found]
    return found, [text for text in clauses if text is not None]


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
