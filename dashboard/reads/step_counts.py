"""Stored steps of runs, counted, beside the counts that producers report."""

from collections.abc import Sequence

import asyncpg
from pydantic import BaseModel

from execstream.storage.querying import parse_id
from execstream.streams.statuses import ENDED, cascade_error

MOST_COUNTED = 1_000  # steps of a run


class StepCounts(BaseModel):
    """Stored steps of a run: `steps` in all; of these those that ended, and failed, by themselves
    (`ended`, `failed`), and those that the end of the run ended (`cascaded`).

    Of a run at most 1,000 steps are counted; `is_complete` is false when there may be more.
    """

    graph_exec_id: str
    steps: int
    ended: int
    failed: int
    cascaded: int
    is_complete: bool


_COUNTS = f"""
select run.id::text as graph_exec_id, count(step.status) as steps,
       count(*) filter (where step.status in ('COMPLETED', 'FAILED') and not cascaded) as ended,
       count(*) filter (where step.status = 'FAILED' and not cascaded) as failed,
       count(*) filter (where cascaded) as cascaded,
       count(step.status) < {MOST_COUNTED} as is_complete
  from graph_execution run
  left join lateral (
      select step.status,
             step.status = 'FAILED' and coalesce(step.stats ->> 'error', '') = any($3) as cascaded
        from node_execution step
       where step.graph_exec_id = run.id
         and step.run_day = (run.created_at at time zone 'UTC')::date
       limit {MOST_COUNTED}) step on true
 where run.id = any($1::uuid[]) and not run.is_deleted and run.trimmed_at is null
   and ($2::text is null or run.user_id = $2)
 group by run.id
"""


async def count_steps(
    db: asyncpg.Pool, run_ids: Sequence[str], user_id: str | None
) -> list[StepCounts]:
    """The steps of runs; only of this user's with `user_id`. Runs that are deleted, or that
    retention has dropped the steps of, are missing."""
    ids = [one for one in map(parse_id, run_ids) if one is not None]
    cascaded = list(map(cascade_error, ENDED))
    rows = await db.fetch(_COUNTS, ids, user_id, cascaded)
    return [StepCounts(**row) for row in rows]
