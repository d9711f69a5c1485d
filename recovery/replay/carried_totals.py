"""Carry over totals for days with an incomplete journal.

Runs while there are no commits into the live schema, so that both schemas have counted the same
events.
"""

from collections.abc import Mapping, Sequence

import asyncpg

from execstream.recovery.replay.caught_up_totals import complete_totals
from execstream.recovery.verify.recomputed_totals import UNKNOWN, Unknown, is_unknown
from execstream.storage.connections import NO_TIMEOUT, quoted
from execstream.storage.schema.tables import BY_TIME, OF_ALL_TIME, Table

_SUMS = """
insert into {new}.{total}
select {keys}, p.position_offset, p.position_index, max({when}),
       sum(added), sum(added_failed), sum(ended), sum(failed), sum(terminated),
       sum(duration_ms), sum(cost), sum(tokens), sum(cascaded), sum(caller_failed),
       sum(skewed)
  from {new}.{parts} t join places p using ({keys}) where {unknown}
 group by {keys}, p.position_offset, p.position_index
"""
# The last event that touched a total is the later one of both sides.
_PLACES = """
create temp table places on commit drop as
select distinct on ({keys}) {keys}, position_offset, position_index
  from (select * from pg_temp.{total} union all select * from {new}.{total}) both_of_them
 order by {keys}, position_offset desc, position_index desc
"""


async def keep_totals(
    connection: asyncpg.Connection,
    live: str,
    new: str,
    events: str,
    ends: Mapping[int, int],
    unknown: Sequence[Unknown],
) -> None:
    """Copy the totals of days that are `unknown` from `live`, the connection's schema, to `new`, up
    to all events with a source before `ends`; and sum up those of all time again.

    To be called in a transaction of isolation repeatable_read.
    """
    await connection.execute("set local timezone = 'UTC'")
    await connection.execute(UNKNOWN)
    await connection.copy_records_to_table("unknown", records=unknown)
    await complete_totals(connection, live, events, ends, _chosen)
    there = quoted(new)
    for table in BY_TIME:
        name, where = table.name, is_unknown(table)
        for statement in (
            f"delete from {there}.{name} t where {where}",
            f"insert into {there}.{name} select * from pg_temp.{name} t where {where}",
        ):
            await connection.execute(statement, timeout=NO_TIMEOUT)
    for table, parts in OF_ALL_TIME.items():
        names = {
            "new": there,
            "total": table.name,
            "parts": parts.name,
            "when": parts.key[0],
            "keys": ", ".join(table.key),
            "unknown": is_unknown(table),
        }
        for statement in (
            _PLACES.format(**names),
            f"delete from {there}.{table.name} t where {is_unknown(table)}",
            _SUMS.format(**names),
            "drop table places",
        ):
            await connection.execute(statement, timeout=NO_TIMEOUT)


def _chosen(table: Table) -> str:
    return "true" if table in OF_ALL_TIME else is_unknown(table)
