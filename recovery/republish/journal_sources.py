"""Positions of times and of the newest effects in the sources of a schema, by partition."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg

_PLACES = """
select partition, base, next_offset + base as end_
  from consumer_offset where consumer = 'apply' and topic = $1
"""
# No index has `at`: a rare query may read it all.
_SINCE = """
select source_partition as partition, min(source_offset) as first from (
    select source_partition, source_offset from journal where at >= $1
    union all select source_partition, source_offset from refusal where at >= $1
    union all select source_partition, source_offset from kv_journal where at >= $1
) said group by 1
"""


class Reach(NamedTuple):
    """Sources of a partition end below `end`; they are Kafka's offsets plus `base`."""

    base: int
    end: int


async def reaches(connection: asyncpg.Connection, topic: str) -> dict[int, Reach]:
    """The last offset of `topic` with effects, by partition."""
    rows = await connection.fetch(_PLACES, topic)
    return {row["partition"]: Reach(row["base"], row["end_"]) for row in rows}


async def sources_at(
    connection: asyncpg.Connection,
    point: datetime | Mapping[int, int],
    reach: Mapping[int, Reach],
    otherwise: Mapping[int, int],
) -> dict[int, int]:
    """The source at `point` in each partition of `reach`.

    Of a time, by the commands' own `at`, it is the first that is not earlier, or the end; offsets
    are Kafka's, and partitions that are not named stay at `otherwise`.
    """
    if isinstance(point, datetime):
        rows = await connection.fetch(_SINCE, point)
        first = {row["partition"]: row["first"] for row in rows}
        return {partition: first.get(partition, one.end) for partition, one in reach.items()}
    return {
        partition: point[partition] + one.base if partition in point else otherwise[partition]
        for partition, one in reach.items()
    }
