"""Why runs failed: the block and the error of their last failing step."""

from collections.abc import Sequence

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from execstream.storage.querying import parse_id

MOST_ERROR = 300  # characters


class RunReason(BaseModel):
    """The last failure of a run's steps that is no consequence of another one; `failures`: all
    that read like it. Of `error` the first MOST_ERROR characters; null where retention dropped it.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    graph_exec_id: str
    node_exec_id: str
    block_id: str
    error_class: str = Field(alias="class")
    fingerprint: str
    failures: int
    error: str | None


# A failed child run is no cause of its own, as long as there is another one. Nor is the row that
# counts all further errors of a run with very many.
_REASONS = f"""
select run.id::text as graph_exec_id, cause.node_exec_id::text as node_exec_id, cause.block_id,
       cause.error_class, cause.fingerprint, cause.failures,
       left(step.stats ->> 'error', {MOST_ERROR}) as error
  from graph_execution run
 cross join lateral (
    select block_id, class as error_class, fingerprint, sum(failures)::bigint as failures,
           (array_agg(node_exec_id order by last_at desc))[1] as node_exec_id
      from run_error where graph_exec_id = run.id
     group by block_id, class, fingerprint
     order by fingerprint = 'other', class = 'child', max(last_at) desc limit 1) cause
  left join node_execution step on step.graph_exec_id = run.id and step.id = cause.node_exec_id
   and step.run_day = (run.created_at at time zone 'UTC')::date
 where run.id = any($1::uuid[]) and not run.is_deleted
   and ($2::text is null or run.user_id = $2)
"""


async def list_run_reasons(
    db: asyncpg.Pool, run_ids: Sequence[str], user_id: str | None
) -> list[RunReason]:
    """The reasons of runs with a failed step; only of this user's with `user_id`."""
    ids = [one for one in map(parse_id, run_ids) if one is not None]
    return [RunReason(**row) for row in await db.fetch(_REASONS, ids, user_id)]
