"""Runs without their journal in the live schema: a rebuild copies the rest instead of folding.

They were erased, or retention has dropped their journal. In a rebuild `replay_copied` names the
former, and the latter have their `trimmed_at`, which no fold sets. The live schema's judgements of
commands about them stay.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from execstream.recovery.verify.recomputed_totals import Unknown, merged
from execstream.storage.connections import quoted

COPIED = "create table replay_copied (id uuid primary key)"


class Lost(NamedTuple):
    """`created_at`: the time of creation in the live schema; `is_copied`: it is in the rebuild
    already.
    """

    created_at: datetime
    is_copied: bool


_LOST = """
select l.id::text, l.created_at, r.id is not null as is_copied
  from unnest($1::uuid[], $2::int[]) as x(id, partition)
  join {live}.graph_execution l on l.id = x.id and l.source_partition = x.partition
   and (l.is_deleted or l.trimmed_at is not null)
  left join graph_execution r on r.id = l.id
 where r.trimmed_at is not null
    or r.id in (select id from replay_copied)
    or (r.id is null
        and not exists (select from {live}.journal j
                         where j.graph_exec_id = l.id and j.seq = 1
                           and j.run_day = (l.created_at at time zone 'UTC')::date))
"""


async def lost_among(
    connection: asyncpg.Connection, live: str, runs: Mapping[str, int]
) -> dict[str, Lost]:
    """Those of `runs`, ids with the partition on which commands about them came, whose journal
    `live` has lost and the rebuild has not, or has copied.
    """
    rows = await connection.fetch(_LOST.format(live=quoted(live)), list(runs), list(runs.values()))
    return {row["id"]: Lost(row["created_at"], row["is_copied"]) for row in rows}


_RUNS = (
    "delete from graph_execution where id = any($1::uuid[])",
    "insert into graph_execution select * from {live}.graph_execution where id = any($1::uuid[])",
    """insert into journal select * from {live}.journal where graph_exec_id = any($1::uuid[])
           on conflict do nothing""",
    """insert into replay_copied select id from graph_execution
        where id = any($1::uuid[]) and trimmed_at is null on conflict do nothing""",
)


async def take_over_runs(
    connection: asyncpg.Connection, live: str, run_ids: Collection[str]
) -> None:
    """Copy the rest of these runs: the row, and entries that came after the others had gone."""
    async with connection.transaction():
        for statement in _RUNS:
            await connection.execute(statement.format(live=quoted(live)), list(run_ids))


_REFUSALS = """
insert into refusal select r.* from {live}.refusal r
  join unnest($1::int[], $2::bigint[]) as x(p, o)
    on (r.source_partition, r.source_offset) = (x.p, x.o)
    on conflict do nothing
"""
_DEAD_LETTERS = """
insert into dead_letter select d.* from {live}.dead_letter d
  join unnest($1::int[], $2::bigint[]) as x(p, o) on (d.partition, d."offset") = (x.p, x.o)
 where d.topic = $3
    on conflict do nothing
"""


async def take_over_judgements(
    connection: asyncpg.Connection,
    live: str,
    topic: str,
    places: Sequence[tuple[int, int]],
    bases: Mapping[int, int],
) -> None:
    """Copy the refusals and dead letters that `live` made of the commands at `places`, partitions
    with Kafka's offsets; `bases` are added to these in sources."""
    partitions, offsets = [p for p, _ in places], [offset for _, offset in places]
    sources = [offset + bases[p] for p, offset in places]
    name = quoted(live)
    async with connection.transaction():
        await connection.execute(_REFUSALS.format(live=name), partitions, sources)
        await connection.execute(_DEAD_LETTERS.format(live=name), partitions, offsets, topic)


# A run with entries that the rebuild has not reached yet is copied when it does.
_TRIMMED = """
with ahead as materialized (
    select distinct j.graph_exec_id as id from {live}.journal j
      join consumer_offset c on c.consumer = 'apply' and c.topic = $1
       and c.partition = j.source_partition and j.source_offset >= c.next_offset + c.base
)
insert into graph_execution select l.* from {live}.graph_execution l
 where l.trimmed_at is not null
   and not exists (select from graph_execution r where r.id = l.id)
   and not exists (select from ahead where ahead.id = l.id)
    on conflict do nothing
"""


async def take_over_trimmed(connection: asyncpg.Connection, live: str, topic: str) -> None:
    """Copy the rows of runs without any source that is still read."""
    await connection.execute(_TRIMMED.format(live=quoted(live)), topic)


_DAYS = """
select source_partition,
       min(least(created_at, started_at, updated_at) at time zone 'UTC')::date,
       max(greatest(created_at, ended_at, updated_at) at time zone 'UTC')::date
  from graph_execution
 where trimmed_at is not null or id in (select id from replay_copied)
 group by source_partition, (created_at at time zone 'UTC')::date
"""


async def lost_days(connection: asyncpg.Connection) -> list[Unknown]:
    """Partitions and days of runs that the rebuild, the connection's schema, has copied."""
    return merged(Unknown(*row) for row in await connection.fetch(_DAYS))
