"""Costs of a user's runs. Dry runs cost nothing and are left out."""

from datetime import datetime

import asyncpg

from execstream.storage.models.summaries import DayCost, GraphCost, RunCost, UserCostSummary
from execstream.storage.schema.tables import RUNS
from execstream.storage.unreadable_rows import Cell, readable, reading

TOP_RUNS = 10

# A producer may store any JSON as cost: a value that is not a number, or beyond a bigint, counts as
# 0. An index has the same expression, which writes no digits of a number with a large exponent.
COST = """
    case when jsonb_typeof(stats -> 'cost') = 'number' then
        case when (stats -> 'cost')::numeric
                  between -9223372036854775808 and 9223372036854775807
             then trunc((stats -> 'cost')::numeric) else 0 end
        else 0 end"""

# The same for a time, and for one that no float can hold.
DURATION = """
    case when jsonb_typeof(stats -> 'walltime') = 'number'
          and ((stats ->> 'walltime')::numeric = 0
               or abs((stats ->> 'walltime')::numeric) between 1e-300 and 1e300)
         then (stats ->> 'walltime')::float8 else 0 end"""

# One pass over the runs answers everything, because the pass takes the time: it returns a row for
# each graph, each day and each of the dearest runs. Totals count deleted runs too: they were paid
# for.
SUMMARY = f"""
with run as materialized (
    select id, graph_id, status, created_at, is_deleted, {COST} as cost
    from graph_execution
    where user_id = $1 and created_at >= $2 and created_at < $3 and not dry_run
), dearest as (
    select id, graph_id, status, created_at, cost from run
    where not is_deleted order by cost desc, created_at desc, id desc limit {TOP_RUNS}
)
select graph_id, day, count(*) as executions, sum(cost) as cost,
    count(*) filter (where status = 'FAILED') as failed_executions,
    coalesce(sum(cost) filter (where status = 'FAILED'), 0) as failed_cost,
    null as graph_exec_id, null as status, null::timestamptz as created_at, null as duration
from (select *, (created_at at time zone 'UTC')::date as day from run) of_day
group by grouping sets ((graph_id), (day))
union all
select graph_id, null, null, cost, null, null, id::text, status, created_at,
    (select {DURATION} from graph_execution whole where whole.id = dearest.id)
from dearest
order by cost desc, created_at desc, graph_exec_id desc, graph_id, day
"""


async def get_user_cost_summary(
    db: asyncpg.Pool, user_id: str, start: datetime, end: datetime
) -> UserCostSummary:
    """Cost of a user's runs created in `start` ≤ t < `end`: in all, per graph, per day, dearest."""
    rows = await db.fetch(SUMMARY, user_id, start, end)
    dearest = [row for row in rows if row["graph_exec_id"] is not None]
    graphs = [row for row in rows if row["graph_exec_id"] is None and row["graph_id"] is not None]
    days = sorted((row for row in rows if row["day"] is not None), key=lambda row: row["day"])
    return UserCostSummary(
        user_id=user_id,
        start=start,
        end=end,
        executions=sum(day["executions"] for day in days),
        cost=sum(day["cost"] for day in days),
        failed_executions=sum(day["failed_executions"] for day in days),
        failed_cost=sum(day["failed_cost"] for day in days),
        by_graph=[GraphCost(**row) for row in graphs],
        by_day=[DayCost(**day) for day in days],
        top_runs=readable(dearest, _run_cost),
    )


def _run_cost(row: asyncpg.Record) -> RunCost:
    with reading(row["graph_exec_id"], Cell(RUNS.name)):
        return RunCost(**row)
