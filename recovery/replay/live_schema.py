"""Reads of the live schema for a rebuild, by its name: its positions, and its journal.

The connection's own schema is the one that is rebuilt.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from execstream.storage.connections import quoted
from execstream.storage.log.run_history import ROWS_AT_ONCE
from execstream.storage.schema.tables import DEAD_LETTERS
from execstream.storage.unreadable_rows import readable, reading_row


class LivePosition(NamedTuple):
    """The position of the live schema in a partition of the commands topic; `base` is added to
    offsets in sources.
    """

    next_offset: int
    base: int


class Reach(NamedTuple):
    """The content that the live schema has without the topic."""

    runs: int
    entries: int  # as the planner knows it
    since: datetime | None  # when the oldest of its runs was created


async def live_places(
    connection: asyncpg.Connection, live: str, topic: str
) -> dict[int, LivePosition]:
    """Positions by partition; empty when there is no live schema, or nothing was ever applied in
    it.
    """
    table = f"{quoted(live)}.consumer_offset"
    if not await connection.fetchval("select to_regclass($1) is not null", table):
        return {}
    rows = await connection.fetch(
        f"""select partition, next_offset, base from {table}
             where consumer = 'apply' and topic = $1""",
        topic,
    )
    return {row["partition"]: LivePosition(row["next_offset"], row["base"]) for row in rows}


async def hold_retention_off(connection: asyncpg.Connection) -> None:
    """Nothing of the connection's schema is trimmed until its transaction ends."""
    await connection.execute("lock table journal, node_execution in access share mode")


async def reach(connection: asyncpg.Connection, live: str) -> Reach:
    """The content of the journal of `live`; nothing when there is no such schema."""
    if not await connection.fetchval(
        "select to_regclass($1) is not null", f"{quoted(live)}.journal"
    ):
        return Reach(0, 0, None)
    row = await connection.fetchrow(
        f"""select count(*), min(created_at),
                   (select coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
                      from pg_inherits i join pg_class c on c.oid = i.inhrelid
                     where i.inhparent = to_regclass($1)) as entries
              from {quoted(live)}.graph_execution where trimmed_at is null""",
        f"{quoted(live)}.journal",
    )
    return Reach(row["count"], row["entries"], row["min"])


async def entries(
    connection: asyncpg.Connection, live: str, partition: int, begin: int, end: int
) -> AsyncIterator[asyncpg.Record]:
    """Rows of the journal of one partition in the order of their sources, `begin` ≤ offset < `end`;
    the offsets are those of sources."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = connection.cursor(
            f"""select * from {quoted(live)}.journal
                 where source_partition = $1 and source_offset >= $2 and source_offset < $3
                 order by source_offset, source_index""",
            partition,
            begin,
            end,
            prefetch=ROWS_AT_ONCE,
        )
        async for row in rows:
            yield row


class Foreign(NamedTuple):
    """Records of runs that were created on another partition, by partition and offset, as the live
    schema judged them: `dead`, with the detail of each, and `early`, when there was no such run
    yet.
    """

    dead: dict[tuple[int, int], dict[str, Any]]
    early: set[tuple[int, int]]


_FOREIGN_DEAD = """
select partition, "offset", detail from {live}.dead_letter
 where topic = $1 and reason = 'wrong_partition'
"""
_FOREIGN_EARLY = """
select r.source_partition, r.source_offset - c.base
  from {live}.refusal r
  join {live}.graph_execution g on g.id = r.graph_exec_id
   and g.source_partition <> r.source_partition
  join {live}.consumer_offset c on c.consumer = 'apply' and c.topic = $1
   and c.partition = r.source_partition
 where r.reason = 'unknown_graph_execution'
"""


async def foreign_records(connection: asyncpg.Connection, live: str, topic: str) -> Foreign:
    """The judgements of `live` about commands that came on another partition than their run's;
    empty when there is no such schema.
    """
    name = quoted(live)
    if not await connection.fetchval("select to_regclass($1) is not null", f"{name}.dead_letter"):
        return Foreign({}, set())
    dead = await connection.fetch(_FOREIGN_DEAD.format(live=name), topic)
    early = await connection.fetch(_FOREIGN_EARLY.format(live=name), topic)
    return Foreign(
        dict(readable(dead, _foreign)),
        {(row[0], row[1]) for row in early},
    )


_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode


def _foreign(row: asyncpg.Record) -> tuple[tuple[int, int], dict[str, Any]]:
    with reading_row(DEAD_LETTERS.name):
        return (row["partition"], row["offset"]), _decode_detail(row["detail"])


# Dead letters of another topic are those of one that was there before, set apart.
_TAKE_OVER = """
insert into kv_journal
select k.* from {live}.kv_journal k join ends on partition = source_partition
 where source_offset < ends.source on conflict do nothing;

insert into kv_data as k (user_id, key, node_exec_id, data, updated_at)
select distinct on (user_id, key) user_id, key, node_exec_id, data, at
  from kv_journal order by user_id, key, at desc, source_offset desc
    on conflict (user_id, key) do update
   set node_exec_id = excluded.node_exec_id, data = excluded.data, updated_at = excluded.updated_at
 where k.updated_at <= excluded.updated_at;

insert into refusal
select r.* from {live}.refusal r join ends on partition = source_partition
 where source_offset < ends.source on conflict do nothing;

insert into dead_letter
select d.* from {live}.dead_letter d join ends using (partition)
 where d.topic <> ends.topic or d."offset" < ends.kafka on conflict do nothing
"""


async def take_over_rest(
    connection: asyncpg.Connection,
    live: str,
    topic: str,
    ends: Mapping[int, int],
    bases: Mapping[int, int],
) -> None:
    """Copy the rows that are not folds of the journal: key-values, refusals and dead letters before
    `ends` (Kafka's offsets). Done twice, it changes nothing.
    """
    rows = [(p, topic, end, end + bases[p]) for p, end in ends.items()]
    async with connection.transaction():
        await connection.execute(
            """create temp table ends (partition int, topic text, kafka bigint, source bigint)
               on commit drop"""
        )
        await connection.copy_records_to_table("ends", records=rows)
        await connection.execute(_TAKE_OVER.format(live=quoted(live)))


_COUNTS = """
update consumer_offset c
   set applied = l.applied, duplicate = l.duplicate, refused = l.refused, dead = l.dead,
       quarantined = l.quarantined
  from {live}.consumer_offset l
 where c.consumer = 'apply' and c.topic = $1 and c.next_offset = l.next_offset
   and (c.consumer, c.topic, c.partition) = (l.consumer, l.topic, l.partition)
"""


async def take_over_counts(connection: asyncpg.Connection, live: str, topic: str) -> None:
    """Copy the counts of outcomes of partitions in which both schemas are at the same offset."""
    await connection.execute(_COUNTS.format(live=quoted(live)), topic)
