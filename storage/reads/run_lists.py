"""Many runs: lists, counts and pages, newest first.

Deleted runs are hidden; those that cannot be read are left out, and logged.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from execstream.storage.models.graph_execution import GraphExecutionMeta
from execstream.storage.models.pages import (
    GraphExecutionsPage,
    GraphExecutionsPaginated,
    Pagination,
)
from execstream.storage.models.summaries import FrequentlyExecutedGraph
from execstream.storage.querying import Where, at_least_one, parse_id, snapshot
from execstream.storage.reads import cursors
from execstream.storage.reads.run_detail import BARE_RUN_COLUMNS, RUN_COLUMNS
from execstream.storage.reads.run_filters import RunFilters
from execstream.storage.unreadable_rows import readable
from execstream.streams.statuses import ExecutionStatus

# The id settles ties, so that the order is the same on every page.
NEWEST_FIRST = "order by created_at desc, id desc"


async def get_graph_executions(
    db: asyncpg.Pool,
    graph_exec_id: str | None = None,
    graph_id: str | None = None,
    graph_version: int | None = None,
    user_id: str | None = None,
    statuses: Sequence[ExecutionStatus] | None = None,
    created_time_gte: datetime | None = None,
    created_time_lte: datetime | None = None,
    limit: int | None = None,
) -> list[GraphExecutionMeta]:
    """Runs of all owners unless `user_id` is given, newest first.

    Without a limit all are returned. An empty list of statuses asks for no status.
    """
    where = RunFilters(
        user_id, graph_id, graph_version, statuses, created_time_gte, created_time_lte
    ).where()
    where.add_id("id = {}", graph_exec_id)
    return await _fetch(db, where, f"limit {where.arg(limit)}")


async def list_graph_executions(
    db: asyncpg.Pool,
    graph_id: str | None = None,
    graph_version: int | None = None,
    user_id: str | None = None,
    statuses: Sequence[ExecutionStatus] | None = None,
    created_time_gte: datetime | None = None,
    created_time_lte: datetime | None = None,
    cursor: str | None = None,
    limit: int = 25,
    *,
    attributes: Mapping[str, str] | None = None,
    with_values: bool = True,
) -> GraphExecutionsPage:
    """A page of runs of all owners unless `user_id` is given, newest first.

    Every page takes the same time, however deep. A run has all of `attributes`. `cursor` is
    `next_cursor` of the page before, requested with the same filters. Without values, the
    inputs of runs are None. Raises InvalidCursor.
    """
    filters = RunFilters(
        user_id,
        graph_id,
        graph_version,
        statuses,
        created_time_gte,
        created_time_lte,
        attributes=attributes,
    )
    statement, args = runs_page(filters, cursor, limit, with_values=with_values)
    rows = await db.fetch(statement, *args)
    page = rows[:limit]
    return GraphExecutionsPage(
        data=readable(page, GraphExecutionMeta.from_db),
        next_cursor=(
            cursors.encode(page[-1]["created_at"], page[-1]["id"]) if len(rows) > limit else None
        ),
    )


def runs_page(
    filters: RunFilters, cursor: str | None = None, limit: int = 25, *, with_values: bool = True
) -> tuple[str, list[object]]:
    """The statement of a page of runs and one run more, newest first, and its arguments.

    Raises InvalidCursor.
    """
    at_least_one(limit=limit)
    where = filters.where()
    if cursor is not None:
        created_at, run_id = cursors.decode(cursor)
        where.add(f"(created_at, id) < ({where.arg(created_at)}, {{}})", run_id)
    # One more than requested shows whether there is another page.
    statement = (
        f"select {RUN_COLUMNS if with_values else BARE_RUN_COLUMNS}"
        f" from graph_execution where {where} {NEWEST_FIRST} limit {where.arg(limit + 1)}"
    )
    return statement, where.args


async def get_graph_executions_count(
    db: asyncpg.Pool,
    user_id: str | None = None,
    graph_id: str | None = None,
    statuses: Sequence[ExecutionStatus] | None = None,
    created_time_gte: datetime | None = None,
    created_time_lte: datetime | None = None,
) -> int:
    """Count runs, of all owners unless `user_id` is given."""
    where = RunFilters(
        user_id, graph_id, None, statuses, created_time_gte, created_time_lte
    ).where()
    return await _count(db, where)


async def get_graph_executions_paginated(
    db: asyncpg.Pool,
    user_id: str,
    graph_id: str | None = None,
    page: int = 1,
    page_size: int = 25,
    statuses: Sequence[ExecutionStatus] | None = None,
    created_time_gte: datetime | None = None,
    created_time_lte: datetime | None = None,
) -> GraphExecutionsPaginated:
    """A numbered page of a user's runs, newest first, and their number.

    The deeper the page, the longer it takes: `list_graph_executions` does not have that flaw.
    """
    at_least_one(page=page, page_size=page_size)
    where = RunFilters(
        user_id, graph_id, None, statuses, created_time_gte, created_time_lte
    ).where()
    async with snapshot(db) as connection:
        total = await _count(connection, where)
        executions = await _fetch(
            connection,
            where,
            f"limit {where.arg(page_size)} offset {where.arg((page - 1) * page_size)}",
        )
    return GraphExecutionsPaginated(
        executions=executions,
        pagination=Pagination(
            total_items=total,
            total_pages=-(-total // page_size),
            current_page=page,
            page_size=page_size,
        ),
    )


# The creator of a run may name any parent, so a foreign child is left out.
CHILDREN = f"""
select {RUN_COLUMNS} from graph_execution child
where parent_graph_exec_id = $1 and not is_deleted
  and ($2::text is null or user_id = $2)
  and not exists (
    select from graph_execution parent where parent.id = $1 and parent.user_id <> child.user_id
  )
{NEWEST_FIRST}
"""


async def get_child_graph_executions(
    db: asyncpg.Pool, parent_exec_id: str, *, user_id: str | None = None
) -> list[GraphExecutionMeta]:
    """Runs that a run started: those of the parent's owner, or of `user_id` if it is given."""
    rows = await db.fetch(CHILDREN, parse_id(parent_exec_id), user_id)
    return readable(rows, GraphExecutionMeta.from_db)


FREQUENT = """
select graph_id, user_id, count(*) as execution_count from graph_execution
where created_at >= now() - make_interval(days => $1) and not is_deleted
  and status in ('COMPLETED', 'FAILED', 'TERMINATED')
group by graph_id, user_id having count(*) >= $2
order by execution_count desc, graph_id, user_id
"""


async def get_frequently_executed_graphs(
    db: asyncpg.Pool, days_back: int = 30, min_executions: int = 10
) -> list[FrequentlyExecutedGraph]:
    """Graphs of all owners with that many ended runs per user, most first."""
    rows = await db.fetch(FREQUENT, days_back, min_executions)
    return [FrequentlyExecutedGraph(**row) for row in rows]


async def _fetch(
    db: asyncpg.Pool | asyncpg.Connection, where: Where, page: str
) -> list[GraphExecutionMeta]:
    rows = await db.fetch(
        f"select {RUN_COLUMNS} from graph_execution where {where} {NEWEST_FIRST} {page}",
        *where.args,
    )
    return readable(rows, GraphExecutionMeta.from_db)


async def _count(db: asyncpg.Pool | asyncpg.Connection, where: Where) -> int:
    total: int = await db.fetchval(
        f"select count(*) from graph_execution where {where}", *where.args
    )
    return total
