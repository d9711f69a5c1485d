"""The state of all runs: the first question of an operator.

There is no look-back window, so a run that is stuck for a month is still reported.
"""

import asyncpg

from execstream.storage.models.summaries import ExecutionDiagnostics
from execstream.storage.querying import snapshot

# A run is silent since the last command that was applied to it. Those that were begun and never
# ended are few, and found by the index of live runs.
LIVE = """
select now() as as_of,
    count(*) filter (where status = 'RUNNING') as running,
    count(*) filter (where status = 'QUEUED') as queued,
    count(*) filter (where status = 'REVIEW') as in_review,
    count(*) filter (where status = 'INCOMPLETE') as incomplete,
    min(started_at) filter (where status = 'RUNNING') as oldest_running,
    min(updated_at) filter (where status = 'QUEUED') as oldest_queued,
    count(*) filter (where status = 'RUNNING' and silence > '1 hour') as running_silent_1h,
    count(*) filter (where status = 'RUNNING' and silence > '24 hours') as running_silent_24h,
    count(*) filter (where status = 'QUEUED' and silence > '5 minutes') as queued_silent_5m,
    count(*) filter (where status = 'QUEUED' and silence > '1 hour') as queued_silent_1h,
    count(*) filter (where status = 'RUNNING' and started_at is null) as running_without_start,
    count(*) filter (where ended_at is not null) as live_with_end
from (
    select status, started_at, updated_at, ended_at, now() - updated_at as silence
    from graph_execution
    where status in ('INCOMPLETE', 'QUEUED', 'RUNNING', 'REVIEW') and not is_deleted
) as live
"""

OLDEST = """
select (select id::text from graph_execution
         where status = 'RUNNING' and started_at is not null and not is_deleted
         order by started_at limit 1) as oldest_running_id,
       (select id::text from graph_execution
         where status = 'QUEUED' and not is_deleted
         order by updated_at limit 1) as oldest_queued_id
"""

ENDED = """
select count(*) filter (where status = 'COMPLETED' and age <= '1 hour') as completed_1h,
    count(*) filter (where status = 'COMPLETED') as completed_24h,
    count(*) filter (where status = 'FAILED' and age <= '1 hour') as failed_1h,
    count(*) filter (where status = 'FAILED') as failed_24h,
    count(*) filter (where status = 'TERMINATED' and age <= '1 hour') as terminated_1h,
    count(*) filter (where status = 'TERMINATED') as terminated_24h,
    count(*) / 24.0::float8 as ended_per_hour
from (
    select status, now() - ended_at as age
    from graph_execution
    where ended_at > now() - interval '24 hours' and ended_at <= now()
      and status in ('COMPLETED', 'FAILED', 'TERMINATED')
) as ended
"""


async def get_execution_diagnostics(db: asyncpg.Pool) -> ExecutionDiagnostics:
    """Counts over the runs of all owners: live, stuck, impossible, and ended of late."""
    async with snapshot(db) as connection:
        live = await connection.fetchrow(LIVE)
        oldest = await connection.fetchrow(OLDEST)
        ended = await connection.fetchrow(ENDED)
    return ExecutionDiagnostics(**live, **oldest, **ended)
