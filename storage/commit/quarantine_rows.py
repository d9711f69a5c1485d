"""Rows of `quarantine` that a batch writes, together with its effects and offsets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

Row = tuple[Any, ...]  # columns of `quarantine` up to `received_at`

_PARTITION, _DETAIL = 1, 8  # columns


@dataclass(slots=True)
class QuarantineRows:
    """Changes of the quarantine by a batch; false when there are none.

    Attributes:
        counts: records set aside, by partition.
        opened: rows of records that wait to be released.
        closed: rows of copies without an effect.
        faults: partition and offset of records whose copy failed, with the detail of the fault.
        released: partition and offset of records that were released, with the offset of the copy.
    """

    counts: Counter[int] = field(default_factory=Counter)
    opened: list[Row] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    faults: list[tuple[int, int, str]] = field(default_factory=list)
    released: list[tuple[int, int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.counts or self.released)

    def add(self, row: Row, *, is_open: bool, failed: int | None) -> None:
        """Set a record aside; see `SetAside`."""
        partition = row[_PARTITION]
        self.counts[partition] += 1
        (self.opened if is_open else self.closed).append(row)
        if failed is not None:
            self.faults.append((partition, failed, row[_DETAIL]))

    def forget_rows(self) -> None:
        """Keep the counts alone."""
        for rows in (self.opened, self.closed, self.faults):
            rows.clear()


_INSERT = """
insert into quarantine (topic, partition, "offset", key, value, headers, bytes, reason, detail,
                        command_id, user_id, received_at, released_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, {released_at})
"""
_OPENED = _INSERT.format(released_at="null")
_CLOSED = _INSERT.format(released_at="clock_timestamp()")
_FAILED = """
update quarantine set detail = $4 where topic = $1 and partition = $2 and "offset" = $3
"""
# The effect of the copy is stored now; of the original only its place is needed any more.
_RELEASED = """
update quarantine set released_at = clock_timestamp(), released_by = $4, value = null
 where topic = $1 and partition = $2 and "offset" = $3
"""
_COUNT = """
update consumer_offset set quarantined = quarantined + $4
 where consumer = $1 and topic = $2 and partition = $3
"""


async def write_quarantine(
    connection: asyncpg.Connection, consumer: str, topic: str, rows: QuarantineRows
) -> None:
    """Write `rows` in the transaction that moves the offsets."""
    await connection.executemany(_OPENED, rows.opened)
    await connection.executemany(_CLOSED, rows.closed)
    await connection.executemany(_FAILED, [(topic, *one) for one in rows.faults])
    await connection.executemany(_RELEASED, [(topic, *one) for one in rows.released])
    counts = [(consumer, topic, number, count) for number, count in rows.counts.items()]
    await connection.executemany(_COUNT, counts)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A take-over of a partition.

    Attributes:
        takeovers: take-overs in a row that found it at the same offset, this one included.
        tries: number of tries of the record there alone.
    """

    takeovers: int
    tries: int


_BEGIN = "select * from begin_applying($1, $2, $3)"


async def begin_applying(
    connection: asyncpg.Connection, topic: str, offsets: dict[int, int]
) -> dict[int, Attempt]:
    """Note that the partitions of `offsets` are about to be applied from there."""
    rows = await connection.fetch(_BEGIN, topic, list(offsets), list(offsets.values()))
    return {row["partition"]: Attempt(row["takeovers"], row["tries"]) for row in rows}


async def begin_try(connection: asyncpg.Connection, topic: str, partition: int, offset: int) -> int:
    """Note that the record there is about to be tried alone; the number of this try."""
    return int(await connection.fetchval("select begin_try($1, $2, $3)", topic, partition, offset))


_FORGET = "update apply_attempt set tries = 0 where topic = $1 and tries > 0"


async def forget_tries(connection: asyncpg.Connection, topic: str) -> None:
    """Forget the tries so far: they may have failed for another reason than the record."""
    await connection.execute(_FORGET, topic)


_OPEN = """
select partition, "offset", key, bytes + coalesce(length(key), 0) + length(headers::text) as bytes
  from quarantine
 where topic = $1 and partition = any ($2::integer[]) and released_at is null
 order by partition, "offset"
"""


async def open_records(
    connection: asyncpg.Connection, topic: str, partitions: Sequence[int]
) -> list[asyncpg.Record]:
    """Records of `partitions` that wait in quarantine, in order: partition, offset, key, bytes."""
    rows: list[asyncpg.Record] = await connection.fetch(_OPEN, topic, list(partitions))
    return rows
