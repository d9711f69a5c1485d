"""Consumer offsets: rows of `consumer_offset`, moved only together with their effects.

The epoch is the fence. Claiming a partition raises it; the owner before can
commit no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

FENCED = "XF001"
CREATED_ELSEWHERE = "XF002"


@dataclass(slots=True)
class OffsetCommit:
    """The part of a batch on one partition: from `expected` to `next`, with the counts of outcomes.

    The fields are those of the type `progress`, in its order.
    """

    partition: int
    expected: int
    epoch: int
    next: int
    published_offset: int
    published_index: int
    applied: int = 0
    duplicate: int = 0
    refused: int = 0
    dead: int = 0

    def row(self) -> tuple[int, ...]:
        return (
            self.partition,
            self.expected,
            self.epoch,
            self.next,
            self.published_offset,
            self.published_index,
            self.applied,
            self.duplicate,
            self.refused,
            self.dead,
        )


_CLAIM = "select * from claim($1, $2, $3, $4)"


async def claim(
    connection: asyncpg.Connection, consumer: str, topic: str, earliest: Mapping[int, int]
) -> list[asyncpg.Record]:
    """Take the partitions of `earliest` over; return their rows. Where nothing is stored, the
    position begins at the given offset.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        _CLAIM, consumer, topic, list(earliest), list(earliest.values())
    )
    return rows


_PUBLISHED = """
update consumer_offset c
   set published_offset = x.o, published_index = x.i
  from unnest($3::int[], $4::bigint[], $5::bigint[], $6::int[]) as x(p, epoch, o, i)
 where c.consumer = $1 and c.topic = $2 and c.partition = x.p and c.epoch = x.epoch
   and (x.o, x.i) > (c.published_offset, c.published_index)
"""


async def save_published(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    published: Mapping[int, tuple[int, tuple[int, int]]],
) -> None:
    """Remember the last acknowledged events: partition → (epoch, (offset, index))."""
    epochs = [epoch for epoch, _ in published.values()]
    offsets = [offset for _, (offset, _) in published.values()]
    indexes = [index for _, (_, index) in published.values()]
    await connection.execute(_PUBLISHED, consumer, topic, list(published), epochs, offsets, indexes)
