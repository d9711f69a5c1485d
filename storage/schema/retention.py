"""Days of the journal and of steps: which may go, and letting them go.

A day goes as a whole or stays as a whole. Runs keep their row and are marked with `trimmed_at`;
totals stay.
"""

from datetime import date, datetime
from typing import NamedTuple

import asyncpg

from execstream.storage.connections import sqlstate

LOCK_PATIENCE = "5s"  # for writers; meanwhile others wait behind us
_MUST_STAY = "XF003"
_LOCKED = "55P03"


class Day(NamedTuple):
    """The data that a day of runs, by `created_at` in UTC, still has beside their rows. `open_runs`
    have not ended; `is_unread`: some of its events are not known to be published, or not counted
    yet; `is_unarchived`: there is an archive, and it lacks some of its commands.
    """

    day: date
    runs: int
    open_runs: int
    bytes: int
    is_unread: bool
    is_unarchived: bool

    @property
    def can_go(self) -> bool:
        return not (self.open_runs or self.is_unread or self.is_unarchived)


# A day has a partition of each table, or a share of the default ones.
_DAYS = """
with own as (
    select to_date(right(c.relname, 8), 'YYYYMMDD') as day,
           sum(pg_total_relation_size(c.oid))::bigint as bytes
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent in ('journal'::regclass, 'node_execution'::regclass)
       and c.relname ~ '_[0-9]{8}$'
     group by 1
), other as (
    select run_day as day, sum(pg_column_size(journal_other.*))::bigint as bytes
      from journal_other where run_day < $1 group by 1
    union all
    select run_day, sum(pg_column_size(node_execution_other.*))::bigint
      from node_execution_other where run_day < $1 group by 1
)
select day, sum(bytes)::bigint as bytes
  from (select * from own union all select * from other) days
 where day < $1 group by day order by day
"""
_RUNS = """
select count(*) as runs,
       count(*) filter (where status not in ('COMPLETED', 'TERMINATED', 'FAILED')) as open_runs
  from graph_execution
 where created_at >= $1::date::timestamp at time zone 'UTC'
   and created_at < ($1::date + 1)::timestamp at time zone 'UTC'
"""

_WAITS = "select day_is_unread($1), day_is_unarchived($1)"


async def plan_retention(db: asyncpg.Pool, before: date) -> list[Day]:
    """The days before `before` that still have something, oldest first."""
    days = []
    for row in await db.fetch(_DAYS, before):
        counts = await db.fetchrow(_RUNS, row["day"])
        is_unread, is_unarchived = await db.fetchrow(_WAITS, row["day"])
        days.append(
            Day(
                row["day"],
                counts["runs"],
                counts["open_runs"],
                row["bytes"],
                is_unread,
                is_unarchived,
            )
        )
    return days


async def trim_day(db: asyncpg.Pool, day: date, at: datetime) -> int | None:
    """Drop `day`; return its number of runs. None when it must stay after all, or when writers hold
    the locks for seconds: then nothing has changed.
    """
    try:
        async with db.acquire() as connection, connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_PATIENCE}'")
            runs: int = await connection.fetchval("select trim_day($1, $2)", day, at)
            return runs
    except asyncpg.PostgresError as error:
        if sqlstate(error) in (_MUST_STAY, _LOCKED):
            return None
        raise
