"""How often steps of each block fail."""

from datetime import UTC, datetime

import asyncpg

from storage.models import BlockErrorStats

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
# Whole hours as they are, the minutes before and after them one by one.
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
    ) as totals
    group by block_id having sum(added) >= $3
) as counted {_WORST_FIRST}
"""
# Without workers of that role the totals are empty, which must not look like no errors.
IS_TALLIED = "select exists (select from consumer_offset where consumer = 'tally')"


async def get_block_error_stats(
    db: asyncpg.Pool, start_time: datetime, end_time: datetime, min_executions: int = 10
) -> list[BlockErrorStats]:
    """Blocks of all owners with that many steps added in `start_time` ≤ t < `end_time`.

    Steps count whatever their status. The block with the highest error rate comes first. Whole
    minutes are answered from the totals, which a worker of role `tally` keeps and which go on
    counting what was erased; anything else is counted from the steps.
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
