"""What the runs of a user cost. Dry runs cost nothing and are left out."""

from datetime import datetime

import asyncpg

from storage.models import DayCost, GraphCost, RunCost, UserCostSummary
from storage.reads.querying import snapshot

TOP_RUNS = 10

# A producer may store any JSON as cost: what is no number, or beyond a bigint, counts as 0.
COST = """
    case when jsonb_typeof(stats -> 'cost') = 'number'
          and (stats ->> 'cost')::numeric between -9223372036854775808 and 9223372036854775807
         then trunc((stats ->> 'cost')::numeric) else 0 end"""

# The same for a time, and for one that no float can hold.
DURATION = """
    case when jsonb_typeof(stats -> 'walltime') = 'number'
          and ((stats ->> 'walltime')::numeric = 0
               or abs((stats ->> 'walltime')::numeric) between 1e-300 and 1e300)
         then (stats ->> 'walltime')::float8 else 0 end"""

_RUNS = "user_id = $1 and created_at >= $2 and created_at < $3 and not dry_run"

# Totals count deleted runs too: they were paid for. One pass gives all three groupings.
TOTALS = f"""
select grouping(graph_id) = 0 as is_graph, grouping(day) = 0 as is_day, graph_id, day,
    count(*) as executions, sum(cost)::bigint as cost,
    count(*) filter (where status = 'FAILED') as failed_executions,
    coalesce(sum(cost) filter (where status = 'FAILED'), 0)::bigint as failed_cost
from (
    select graph_id, (created_at at time zone 'UTC')::date as day, status, {COST} as cost
    from graph_execution where {_RUNS}
) as run
group by grouping sets ((graph_id), (day))
order by cost desc, graph_id, day
"""

DEAREST = f"""
select id::text as graph_exec_id, graph_id, status, created_at,
    {DURATION} as duration, {COST} as cost
from graph_execution where {_RUNS} and not is_deleted
order by cost desc, created_at desc, id desc limit {TOP_RUNS}
"""


async def get_user_cost_summary(
    db: asyncpg.Pool, user_id: str, start: datetime, end: datetime
) -> UserCostSummary:
    """Cost of a user's runs created in `start` ≤ t < `end`: in all, per graph, per day, dearest."""
    async with snapshot(db) as connection:
        totals = await connection.fetch(TOTALS, user_id, start, end)
        dearest = await connection.fetch(DEAREST, user_id, start, end)
    days = sorted((row for row in totals if row["is_day"]), key=lambda row: row["day"])
    return UserCostSummary(
        user_id=user_id,
        start=start,
        end=end,
        executions=sum(day["executions"] for day in days),
        cost=sum(day["cost"] for day in days),
        failed_executions=sum(day["failed_executions"] for day in days),
        failed_cost=sum(day["failed_cost"] for day in days),
        by_graph=[GraphCost(**row) for row in totals if row["is_graph"]],
        by_day=[DayCost(**day) for day in days],
        top_runs=[RunCost(**row) for row in dearest],
    )
