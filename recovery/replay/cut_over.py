"""Exchanging the live schema for one that was rebuilt beside it, in one transaction.

While the rows of `consumer_offset` are locked, no worker commits. The owners of partitions are
fenced off by other epochs, in both schemas: a commit that waits for the lock may end up in either.
"""

from collections.abc import Mapping

import asyncpg

from execstream.storage.connections import WRITE, quoted
from execstream.storage.schema.row_security import POLICIES, secure, unsecured
from execstream.storage.schema.tables import TABLES, Origin
from execstream.streams.errors import Fatal

LOCK_TIMEOUT = 20  # seconds; below the time that workers wait for an answer

# All other tables of the live schema are copied, or moved if they are not ours.
_REBUILT = [table.name for table in TABLES if table.origin is not Origin.OTHER]


class NotExchangeable(Fatal):
    """The schemas are not of the same version, or sessions of workers may not be ended."""


_LOCK = """
select consumer, topic, partition, next_offset from {live}.consumer_offset
 order by consumer, topic, partition for update
"""
_VERSIONS = """
select (select max(version) from {live}.migration), (select max(version) from {new}.migration)
"""


async def lock(connection: asyncpg.Connection, live: str, new: str, topic: str) -> dict[int, int]:
    """Stop all commits into `live` until the transaction ends; return the positions of `apply` in
    `topic` then.

    Raises NotExchangeable when the versions of the schemas differ, and when the user lacks the
    right to end the sessions of a worker.
    """
    if users := [row[0] for row in await connection.fetch(_UNENDING, WRITE.application_name(live))]:
        raise NotExchangeable(
            f"{', '.join(users)} may write into {live}, and this user may not end the sessions: "
            f"grant {', '.join(map(quoted, users))} to the user that swaps."
        )
    names = {"live": quoted(live), "new": quoted(new)}
    await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}s'")
    ours, theirs = await connection.fetchrow(_VERSIONS.format(**names))
    if ours != theirs:
        raise NotExchangeable(
            f"{live} has migration {ours}, {new} has {theirs}: run `execstream migrate` first."
        )
    return {
        row["partition"]: row["next_offset"]
        for row in await connection.fetch(_LOCK.format(**names))
        if (row["consumer"], row["topic"]) == ("apply", topic)
    }


_OTHERS = """
select c.relname, to_regclass($3 || '.' || quote_ident(c.relname)) is not null as is_ours
  from pg_class c
  left join pg_class root on root.oid = pg_partition_root(c.oid)
 where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
   and not coalesce(root.relname, c.relname) = any ($2::text[])
 order by c.oid  -- what others refer to comes first
"""
_SEQUENCES = """
select a.attname, pg_get_serial_sequence($1, a.attname) as live,
       pg_get_serial_sequence($2, a.attname) as new
  from pg_attribute a
 where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
   and pg_get_serial_sequence($1, a.attname) is not null
"""
_PLACES = """
update {new}.consumer_offset n
   set epoch = greatest(n.epoch, l.epoch) + 1,
       published_offset = l.published_offset, published_index = l.published_index
  from {live}.consumer_offset l
 where (n.consumer, n.topic, n.partition) = (l.consumer, l.topic, l.partition)
   and n.consumer = 'apply';

insert into {new}.consumer_offset
select * from {live}.consumer_offset where consumer <> 'apply';

update {new}.consumer_offset set epoch = epoch + 1 where consumer = 'tally';
-- Negative: a claim that waited for the lock and raises it comes to no epoch of the new schema.
update {live}.consumer_offset set epoch = -abs(epoch) - 1;

update {new}.dead_letter n set redriven_at = l.redriven_at
  from {live}.dead_letter l where l.id = n.id and l.redriven_at is not null;

delete from {new}.replay_plan
"""

# The totals hold everything that the rebuilt journal has: the tally goes on behind that, wherever
# it reads on in the topic of events.
_TALLY = """
insert into {new}.consumer_offset as c
       (consumer, topic, partition, next_offset, epoch, published_offset, published_index)
select 'tally', $1, x.partition, x.first, 1, last.source_offset, last.source_index
  from unnest($2::int[], $3::bigint[]) as x(partition, first)
 cross join lateral (
    select source_offset, source_index from (
        (select source_offset, source_index from {new}.journal
          where source_partition = x.partition order by 1 desc, 2 desc limit 1)
        union all
        (select source_offset, 0 from {new}.refusal
          where source_partition = x.partition order by 1 desc limit 1)
        union all
        (select source_offset, 0 from {new}.kv_journal
          where source_partition = x.partition order by 1 desc limit 1)
        union all
        select -1, -1) said
     order by 1 desc, 2 desc limit 1) last
on conflict (consumer, topic, partition) do update
   set published_offset = excluded.published_offset, published_index = excluded.published_index
 where (excluded.published_offset, excluded.published_index)
       > (c.published_offset, c.published_index)  -- what was counted may be trimmed since
"""
_DROP = "drop table {new}.replay_copied, {new}.replay_kept, {new}.replay_unreadable"
_EXCHANGE = """
alter schema {live} rename to {aside};
alter schema {new} rename to {live};
alter schema {aside} rename to {new}
"""


async def exchange(
    connection: asyncpg.Connection, live: str, new: str, events: str, first: Mapping[int, int]
) -> None:
    """Give each schema the other's name, after `lock` and in the same transaction.

    `events` is the topic of events, and `first` its first offsets, at which a tally begins that
    never ran.
    """
    names = {"live": quoted(live), "new": quoted(new), "aside": quoted(f"{live}_aside")}
    for row in await connection.fetch(_OTHERS, names["live"], _REBUILT, names["new"]):
        table = f"{names['live']}.{quoted(row['relname'])}"
        if row["is_ours"]:
            await _copy(connection, table, f"{names['new']}.{quoted(row['relname'])}")
        else:  # a table of the operator's own, which stays with the live schema
            await connection.execute(f"alter table {table} set schema {names['new']}")
    await connection.execute(_DROP.format(**names))
    await connection.execute(_PLACES.format(**names))
    await connection.execute(_TALLY.format(**names), events, list(first), list(first.values()))
    if len(await unsecured(connection, live)) < len(POLICIES):
        await secure(connection, new)
    await connection.execute(_EXCHANGE.format(**names))
    await end_sessions(connection, live)


async def _copy(connection: asyncpg.Connection, live: str, new: str) -> None:
    await connection.execute(f"lock table {live} in share mode; delete from {new}")
    await connection.execute(f"insert into {new} overriding system value select * from {live}")
    for row in await connection.fetch(_SEQUENCES, live, new):
        await connection.execute(
            f"select setval($1::text::regclass, last_value, is_called) from {row['live']}",
            row["new"],
        )


_END = """
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name = $1 and datname = current_database() and pid <> pg_backend_pid()
"""


_UNENDING = """
select distinct usename from pg_stat_activity
 where application_name = $1 and datname = current_database()
   and not pg_has_role(usesysid, 'usage') and not pg_has_role('pg_signal_backend', 'usage')
 order by 1
"""


async def end_sessions(connection: asyncpg.Connection, schema: str) -> None:
    """End the sessions that write into `schema`, because their prepared statements name types of
    the schema that had its name. The workers reconnect at once, and find the fence.
    """
    await connection.execute(_END, WRITE.application_name(schema))
