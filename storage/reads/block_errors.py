"""Failure rates of the steps of each block."""

from datetime import UTC, datetime

import asyncpg

from execstream.storage.models.blocks import BlockErrorStats

MOST_UNCOUNTED = 20_000  # commands that the tally may be behind
_HOUR = 3600  # seconds

# Totals count the steps of deleted runs too.
_WORST_FIRST = """
order by failed_executions::float8 / total_executions desc, total_executions desc, block_id
"""
BLOCK_ERRORS = f"""
select * from (
    select block_id, count(*) as total_executions,
        count(*) filter (where status = 'FAILED') as failed_executions
    from node_execution where added_time >= $1 and added_time < $2
    group by block_id having count(*) >= $3
) as counted {_WORST_FIRST}
"""
# Whole hours from their own rows, the minutes before and after them one by one, and the events that
# the tally has not counted yet. The source of the last counted event is the tally's published
# position; the offset is asked for by itself, too, because the journal's index has only that.
BLOCK_ERRORS_BY_TOTALS = f"""
select * from (
    select block_id, sum(added)::bigint as total_executions,
        sum(added_failed)::bigint as failed_executions
    from (
        select block_id, added, added_failed from block_hour where hour >= $4 and hour < $5
        union all
        select block_id, added, added_failed from block_minute
            where minute >= $1 and minute < $4
        union all
        select block_id, added, added_failed from block_minute
            where minute >= $5 and minute < $2
        union all
        select step.block_id, (entry.type = 'node.added')::int, (entry.status = 'FAILED')::int
            from consumer_offset tally
            join journal entry on entry.source_partition = tally.partition
                and entry.source_offset >= tally.published_offset
                and (entry.source_offset, entry.source_index)
                    > (tally.published_offset, tally.published_index)
            join node_execution step on step.graph_exec_id = entry.graph_exec_id
                and step.id = entry.node_exec_id and step.run_day = entry.run_day
            where tally.consumer = 'tally'
                and (entry.type = 'node.added' or entry.status = 'FAILED')
                and step.added_time >= $1 and step.added_time < $2
    ) as totals
    group by block_id having sum(added) >= greatest($3, 1)
) as counted {_WORST_FIRST}
"""
# Whether every partition that has commands has a tally, and all together are not far behind.
IS_TALLIED = f"""
select count(*) > 0 and bool_and(tally.partition is not null)
    and sum(greatest(0, apply.next_offset + apply.base - 1 - tally.published_offset))
        <= {MOST_UNCOUNTED}
from consumer_offset apply
left join consumer_offset tally on tally.consumer = 'tally' and tally.partition = apply.partition
where apply.consumer = 'apply' and apply.next_offset > 0
"""


async def get_block_error_stats(
    db: asyncpg.Pool, start_time: datetime, end_time: datetime, min_executions: int = 10
) -> list[BlockErrorStats]:
    """Blocks of all owners with that many steps added in `start_time` ≤ t < `end_time`.

    Steps count whatever their status. The block with the highest error rate comes first. Whole
    minutes are answered from the totals that workers of role `tally` keep, with the events that
    these have not counted yet; totals keep counting erased runs. Anything else, and all of it while
    the tally is far behind, is counted from the steps.
    """
    span = (start_time, end_time, min_executions)
    whole = _is_whole_minute(start_time) and _is_whole_minute(end_time)
    if whole and await db.fetchval(IS_TALLIED):
        rows = await db.fetch(BLOCK_ERRORS_BY_TOTALS, *span, *_whole_hours(start_time, end_time))
    else:
        rows = await db.fetch(BLOCK_ERRORS, *span)
    return [BlockErrorStats(**row) for row in rows]


def _is_whole_minute(time: datetime) -> bool:
    return time.second == 0 and time.microsecond == 0


def _whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The hours of UTC that lie in the span, from and to; both `end` when there are none."""
    first = -(-start.timestamp() // _HOUR) * _HOUR
    last = end.timestamp() // _HOUR * _HOUR
    if first >= last:
        return end, end
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
