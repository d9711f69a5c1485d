"""Point-in-time reads: the answers that the reads would have given at an earlier moment.

Everything comes from the journal, by the rules of `streams.fold`, put as SQL: only the entries of
the answer leave Postgres. A moment is the number of an entry, or a time; of a time, everything up
to the last entry that happened by then, and a run does not exist before its `created_at`. A run
that is deleted today is hidden at every moment.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from execstream.storage.models.graph_execution import (
    GraphExecutionMeta,
    GraphExecutionWithNodes,
)
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.pages import GraphExecutionsPage
from execstream.storage.querying import Where, parse_id, snapshot
from execstream.storage.reads import cursors
from execstream.storage.reads.pins import INPUTS_AND_OUTPUTS
from execstream.storage.reads.read_errors import NotYetHappened, PastIsGone
from execstream.storage.reads.run_filters import add_attributes
from execstream.storage.reads.steps import STEP_ORDER, build_steps
from execstream.storage.schema.tables import JOURNAL
from execstream.storage.unreadable_rows import Cell, UnreadableRun, readable, unreadable_run
from execstream.streams.moments import Moment
from execstream.streams.statuses import ExecutionStatus


class Past(NamedTuple):
    """A run up to one of its entries."""

    id: UUID
    user_id: str
    run_day: date
    seq: int


_DAY = "(run.created_at at time zone 'UTC')::date"
_SAME = """run.id, run.user_id, run.graph_id, run.graph_version, run.inputs,
    run.credential_inputs, run.nodes_input_masks, run.preset_id, run.dry_run, run.created_at,
    run.trimmed_at, run.attributes"""
_THEN = """past.status, past.stats, past.started_at, past.ended_at, past.is_shared,
    'journal' as told_by"""

# The state that a run's own entries up to `reached.seq` lead to.
_PAST = f"""
lateral (
    select (array_agg(status order by seq desc) filter (where status is not null))[1] as status,
           (array_agg(detail -> 'stats' order by seq desc) filter (where detail ? 'stats'))[1]
               as stats,
           (array_agg(at order by seq desc) filter (where detail -> 'started' = 'true'))[1]
               as started_at,
           (array_agg(case when status in ('COMPLETED', 'FAILED', 'TERMINATED') then at end
                      order by seq desc) filter (where status is not null))[1] as ended_at,
           coalesce((array_agg(detail -> 'is_shared' = 'true' order by seq desc)
                     filter (where type = 'graph.shared'))[1], false) as is_shared
      from journal
     where graph_exec_id = run.id and run_day = {_DAY} and node_exec_id is null
       and seq <= reached.seq
) past
"""

# ---- one run -------------------------------------------------------------------------------

_FIND = f"""
select run.id, run.user_id, {_DAY} as run_day, run.created_at, run.last_seq, run.trimmed_at
  from graph_execution run where run.id = $1 and not run.is_deleted
"""
_REACHED = """
select max(seq) from journal where graph_exec_id = $1 and run_day = $2 and at <= $3
"""


async def find_past(db: asyncpg.Pool, execution_id: str, moment: Moment) -> Past | None:
    """The progress at `moment` of a run of any owner; None if there was none.

    Raises:
        NotYetHappened: it has no entry of that number yet.
        PastIsGone: retention has dropped its journal.
    """
    run = await db.fetchrow(_FIND, parse_id(execution_id))
    if run is None:
        return None
    if run["trimmed_at"] is not None:
        raise PastIsGone(execution_id, run["trimmed_at"])
    if isinstance(moment, int):
        if moment > run["last_seq"]:
            raise NotYetHappened(execution_id, moment, run["last_seq"])
        seq = moment
    elif moment < run["created_at"]:
        return None
    else:
        seq = await db.fetchval(_REACHED, run["id"], run["run_day"], moment)
    return Past(run["id"], run["user_id"], run["run_day"], seq) if seq and seq > 0 else None


def without_past(execution_id: str, trimmed_at: datetime | None) -> PastIsGone | UnreadableRun:
    """Return why the entries of a run do not have its status: retention came in between, or they
    cannot be read.
    """
    if trimmed_at is not None:
        return PastIsGone(execution_id, trimmed_at)
    cell = Cell(JOURNAL.name, column="status")
    return unreadable_run(execution_id, LookupError("no entry with a status"), cell)


RUN = f"""
select {_SAME}, {_THEN}
  from graph_execution run, (select $2::bigint as seq) reached, {_PAST}
 where run.id = $1 and not run.is_deleted
"""


async def get_graph_execution_as_of(
    db: asyncpg.Pool, user_id: str, execution_id: str, moment: Moment
) -> GraphExecutionWithNodes | None:
    """A user's run with all its steps as `get_graph_execution` would have returned it at `moment`.

    None when there was no such run then. Raises NotYetHappened, PastIsGone,
    UnreadableRun.
    """
    past = await find_past(db, execution_id, moment)
    if past is None or past.user_id != user_id:
        return None
    async with snapshot(db) as connection:
        run = await connection.fetchrow(RUN, past.id, past.seq)
        if run is None:
            return None
        if run["status"] is None:
            raise without_past(execution_id, run["trimmed_at"])
        rows = await connection.fetch(f"{STEPS} {STEP_ORDER}", *past, 1, None)
        steps = await build_steps(connection, rows, INPUTS_AND_OUTPUTS, past.seq)
        kinds = {row["block_id"]: row["block_type"] for row in rows if row["block_type"]}
        return GraphExecutionWithNodes.from_db(run, steps, kinds)


# ---- its steps -----------------------------------------------------------------------------

# Of all steps, or of those of the given ids, which were added from entry $5 on.
STEPS = """
select step.*, run.user_id, run.graph_id, run.graph_version, block.block_type,
       'journal' as told_by
  from graph_execution run
  join (
    select graph_exec_id, run_day, node_exec_id as id, min(seq) as added_seq,
           (array_agg(detail order by seq))[1] ->> 'node_id' as node_id,
           (array_agg(detail order by seq))[1] ->> 'block_id' as block_id,
           (array_agg(at order by seq))[1] as added_time,
           (array_agg(status order by seq desc))[1] as status,
           (array_agg(at order by seq desc) filter (where status = 'QUEUED'))[1] as queued_time,
           (array_agg(at order by seq desc) filter (where status = 'RUNNING'))[1] as started_time,
           (array_agg(at order by seq desc) filter (where status in ('COMPLETED', 'FAILED')))[1]
               as ended_time,
           (array_agg(detail -> 'stats' order by seq desc) filter (where detail ? 'stats'))[1]
               as stats,
           (array_agg(detail -> 'execution_data' order by seq desc)
               filter (where detail ? 'execution_data'))[1] as execution_data
      from journal
     where graph_exec_id = $1 and run_day = $3 and seq between $5 and $4
       and type in ('node.added', 'node.updated')
       and ($6::uuid[] is null or node_exec_id = any($6))
     group by graph_exec_id, run_day, node_exec_id
  ) step on step.graph_exec_id = run.id
  left join block on block.id = step.block_id
 where run.id = $1 and run.user_id = $2 and not run.is_deleted
"""

_ADDED = """
select node_exec_id as id, seq as added_seq from journal
 where graph_exec_id = $1 and run_day = $2 and seq between $4 + 1 and $3
   and type = 'node.added' and ($5::text is null or detail ->> 'node_id' = $5)
 order by seq limit $6
"""
_ADDED_IN_STATUS = """
select id, added_seq from (
    select node_exec_id as id, min(seq) as added_seq,
           (array_agg(status order by seq desc))[1] as status,
           (array_agg(detail order by seq))[1] ->> 'node_id' as node_id
      from journal
     where graph_exec_id = $1 and run_day = $2 and seq <= $3
       and type in ('node.added', 'node.updated')
     group by node_exec_id
) step
 where added_seq > $4 and ($5::text is null or node_id = $5) and status = any($7)
 order by added_seq limit $6
"""


async def list_steps_as_of(
    db: asyncpg.Pool,
    past: Past,
    node_id: str | None = None,
    statuses: Sequence[ExecutionStatus] | None = None,
    after: int = 0,
    limit: int = 25,
    *,
    with_values: bool = True,
) -> tuple[list[NodeExecutionResult], int | None]:
    """Steps that a run of any owner had then, in the order of creation, beyond number `after`;
    and the number to go on after, None when these were the last."""
    async with snapshot(db) as connection:
        page, following = await find_steps_as_of(connection, past, node_id, statuses, after, limit)
        if not page:
            return [], None
        ids = [row["id"] for row in page]
        rows = await connection.fetch(
            f"{STEPS} order by step.added_seq", *past, page[0]["added_seq"], ids
        )
        types = INPUTS_AND_OUTPUTS if with_values else ()
        # Without values a live page leaves execution data out, too.
        bare = {} if with_values else {"execution_data": None}
        step_rows = [dict(row) | bare for row in rows]
        steps = await build_steps(connection, step_rows, types, past.seq)
    return steps, following


async def find_steps_as_of(
    connection: asyncpg.Connection,
    past: Past,
    node_id: str | None,
    statuses: Sequence[ExecutionStatus] | None,
    after: int,
    limit: int,
) -> tuple[list[asyncpg.Record], int | None]:
    """`id` and `added_seq` of a page of `list_steps_as_of`, and the number to go on after."""
    place = (past.id, past.run_day, past.seq, after, node_id, limit + 1)
    if statuses:
        found = await connection.fetch(_ADDED_IN_STATUS, *place, list(map(str, statuses)))
    else:
        found = await connection.fetch(_ADDED, *place)
    page = found[:limit]
    following = page[-1]["added_seq"] if len(found) > limit else None
    return page, following


# ---- many runs -----------------------------------------------------------------------------

# Runs without later changes are read from their rows; only the others need their journals.
_RUNS = f"""
select {_SAME}, {_THEN}
  from graph_execution run
 cross join lateral (
    select run.status, run.stats, run.started_at, run.ended_at, run.is_shared
     where run.updated_at <= $1
     union all
    select past.status, past.stats, past.started_at, past.ended_at, past.is_shared
      from (select max(seq) as seq from journal
             where graph_exec_id = run.id and run_day = {_DAY} and at <= $1) reached, {_PAST}
     where run.updated_at > $1 and past.status is not null
) past
"""


async def list_graph_executions_as_of(
    db: asyncpg.Pool,
    moment: datetime,
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
) -> GraphExecutionsPage:
    """A page of the runs of all owners as of `moment`, newest first.

    Like `list_graph_executions`, with the `statuses` of that moment. A run whose journal retention
    has dropped is included from its last entry on. Raises InvalidCursor.
    """
    statement, args = runs_as_of(
        moment,
        graph_id,
        graph_version,
        user_id,
        statuses,
        created_time_gte,
        created_time_lte,
        cursor,
        limit,
        attributes,
    )
    rows = await db.fetch(statement, *args)
    page = rows[:limit]
    last = page[-1] if len(rows) > limit else None
    return GraphExecutionsPage(
        data=readable(page, GraphExecutionMeta.from_db),
        next_cursor=None if last is None else cursors.encode(last["created_at"], last["id"]),
    )


def runs_as_of(
    moment: datetime,
    graph_id: str | None,
    graph_version: int | None,
    user_id: str | None,
    statuses: Sequence[ExecutionStatus] | None,
    created_time_gte: datetime | None,
    created_time_lte: datetime | None,
    cursor: str | None,
    limit: int,
    attributes: Mapping[str, str] | None = None,
) -> tuple[str, list[object]]:
    """The statement of such a page and one run more, and its arguments. Raises InvalidCursor."""
    where = Where("not run.is_deleted", "run.created_at <= $1")
    where.args.append(moment)
    where.add("run.user_id = {}", user_id)
    where.add("run.graph_id = {}", graph_id)
    where.add("run.graph_version = {}", graph_version)
    where.add_any("past.status = any({})", statuses)
    where.add("run.created_at >= {}", created_time_gte)
    where.add("run.created_at <= {}", created_time_lte)
    add_attributes(where, attributes, "run.")
    if cursor is not None:
        created_at, run_id = cursors.decode(cursor)
        where.add(f"(run.created_at, run.id) < ({where.arg(created_at)}, {{}})", run_id)
    statement = (
        f"{_RUNS} where {where} order by run.created_at desc, run.id desc"
        f" limit {where.arg(limit + 1)}"
    )
    return statement, where.args
