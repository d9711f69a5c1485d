"""Positions of the consumers that keep them in Postgres, and moving them to a recreated topic."""

from collections.abc import Mapping
from typing import NamedTuple

import asyncpg


class Stored(NamedTuple):
    """The position of a consumer in a partition of `topic`; see `consumer_offset`."""

    consumer: str
    topic: str
    partition: int
    next_offset: int
    base: int
    published_offset: int
    published_index: int


_ALL = """
select consumer, topic, partition, next_offset, base, published_offset, published_index
  from consumer_offset order by consumer, topic, partition
"""


async def stored_positions(connection: asyncpg.Connection | asyncpg.Pool) -> list[Stored]:
    """The positions of all consumers, by partition."""
    return [Stored(*row) for row in await connection.fetch(_ALL)]


# A raised epoch fences off workers that still run.
_TO_THE_BEGINNING = """
update consumer_offset set next_offset = 0, epoch = epoch + 1,
       base = base + case when $3 then next_offset else 0 end
 where consumer = $1 and topic = $2
"""
# Offsets of the topic that was will come again.
_SET_APART = """
update dead_letter
   set topic = topic || ' before ' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
 where topic = $1
"""
# Records in quarantine keep their order before all of the new topic: their offsets fall below zero.
# By way of a place far off, for no two rows may have one offset in between.
_FAR = 2**61
_MOVE_AWAY = f"""
update quarantine set "offset" = "offset" - {_FAR}, released_by = released_by - {_FAR}
 where topic = $1
"""
_MOVE_BELOW = f"""
update quarantine q
   set "offset" = q."offset" + {_FAR} - c.next_offset,
       released_by = q.released_by + {_FAR} - c.next_offset
  from consumer_offset c
 where q.topic = $1 and (c.consumer, c.topic, c.partition) = ('apply', q.topic, q.partition)
"""


async def rebase_commands(pool: asyncpg.Pool, topic: str) -> None:
    """Go on at the beginning of a new topic of commands: sources continue from their last value,
    and old dead letters are set apart.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_MOVE_AWAY, topic)
        await connection.execute(_MOVE_BELOW, topic)
        await connection.execute(_TO_THE_BEGINNING, "apply", topic, True)
        await connection.execute(_SET_APART, topic)


_SKIP = """
update consumer_offset c set next_offset = b.begin, epoch = epoch + 1
  from unnest($3::int[], $4::bigint[]) as b(partition, begin)
 where consumer = $1 and topic = $2 and c.partition = b.partition and next_offset < b.begin
"""


async def skip_to(pool: asyncpg.Pool, consumer: str, topic: str, begins: Mapping[int, int]) -> None:
    """Move `consumer` to `begins`, by partition, where it is below."""
    await pool.execute(_SKIP, consumer, topic, list(begins), list(begins.values()))


async def rewind(pool: asyncpg.Pool, consumer: str, topic: str) -> None:
    """Have `consumer` read a new topic from its beginning."""
    await pool.execute(_TO_THE_BEGINNING, consumer, topic, False)
