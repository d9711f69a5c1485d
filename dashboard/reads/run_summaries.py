"""Reads of runs for pages, beyond the reads that all programs share."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
from pydantic import BaseModel

from execstream.storage.log.run_states import DAY_OF_RUN
from execstream.storage.querying import Where, parse_id
from execstream.storage.reads.run_filters import RunFilters
from execstream.storage.reads.steps import STEPS
from execstream.streams.statuses import ExecutionStatus


class Run(NamedTuple):
    """The fields of a run that show its owner, and whether it has changed since."""

    id: UUID
    user_id: str
    last_seq: int
    trimmed_at: datetime | None
    day: date


FIND_RUN = """
select id, user_id, last_seq, trimmed_at, (created_at at time zone 'UTC')::date as day
  from graph_execution where id = $1 and not is_deleted
"""


async def find_run(db: asyncpg.Pool, graph_exec_id: str) -> Run | None:
    """A run that is not deleted."""
    row = await db.fetchrow(FIND_RUN, parse_id(graph_exec_id))
    return row and Run(*row)


class StatusCounts(BaseModel):
    """The number of runs in each status."""

    counts: dict[ExecutionStatus, int]
    total: int
    as_of: datetime


async def count_by_status(db: asyncpg.Pool, filters: RunFilters) -> StatusCounts:
    """Counts of all statuses, those that no run is in among them."""
    where = filters.where()
    rows = await db.fetch(
        f"select status, count(*), now() from graph_execution where {where} group by status",
        *where.args,
    )
    # A run in no status that there is counts in the total alone.
    known = {row["status"]: row["count"] for row in rows}
    counts = {status: known.get(status, 0) for status in ExecutionStatus}
    as_of = rows[0]["now"] if rows else await db.fetchval("select now()")
    return StatusCounts(counts=counts, total=sum(known.values()), as_of=as_of)


async def find_steps(
    connection: asyncpg.Connection,
    run: Run,
    node_id: str | None,
    statuses: Sequence[ExecutionStatus] | None,
    after: int,
    limit: int,
) -> tuple[list[asyncpg.Record], int | None]:
    """`id` and `added_seq` of steps in the order of their creation, beyond number `after`; and the
    number to go on after, None when these were the last."""
    where = Where("not run.is_deleted")
    where.add(f"step.graph_exec_id = {{0}} and step.run_day = {DAY_OF_RUN}", run.id)
    where.add("step.added_seq > {}", after)
    where.add("step.node_id = {}", node_id)
    where.add_any("step.status = any({})", statuses)
    rows = await connection.fetch(
        f"select step.id, step.added_seq from {STEPS} where {where}"
        f" order by step.added_seq limit {where.arg(limit + 1)}",
        *where.args,
    )
    page = rows[:limit]
    return page, page[-1]["added_seq"] if len(rows) > limit else None
