"""How often steps of each block fail."""

from datetime import datetime

import asyncpg

from storage.models import BlockErrorStats

# Totals count the steps of deleted runs too.
BLOCK_ERRORS = """
select block_id, count(*) as total_executions,
    count(*) filter (where status = 'FAILED') as failed_executions
from node_execution where added_time >= $1 and added_time < $2
group by block_id having count(*) >= $3
order by count(*) filter (where status = 'FAILED')::float8 / count(*) desc, count(*) desc, block_id
"""


async def get_block_error_stats(
    db: asyncpg.Pool, start_time: datetime, end_time: datetime, min_executions: int = 10
) -> list[BlockErrorStats]:
    """Blocks of all owners with that many steps added in `start_time` ≤ t < `end_time`.

    Steps count whatever their status. The block with the highest error rate comes first.
    """
    rows = await db.fetch(BLOCK_ERRORS, start_time, end_time, min_executions)
    return [BlockErrorStats(**row) for row in rows]
