"""Steps, with all their values. Those of a deleted run are hidden."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from execstream.storage.log.run_states import DAY_OF_RUN, NO_LIMIT
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.values import CompletedBlockOutput
from execstream.storage.querying import Where, parse_id, snapshot
from execstream.storage.reads.pins import INPUTS_AND_OUTPUTS, OUTPUTS, get_pins
from execstream.storage.reads.read_errors import AmbiguousStep
from execstream.storage.unreadable_rows import readable
from execstream.streams.statuses import ExecutionStatus

IDENTITY = "step.id, step.graph_exec_id, step.run_day, step.added_seq"
_PLACE = "run.user_id, run.graph_id, run.graph_version"
_STATE = """step.node_id, step.block_id, step.status, step.added_time, step.queued_time,
    step.started_time, step.ended_time"""
STEP_COLUMNS = f"{IDENTITY}, {_PLACE}, {_STATE}, step.execution_data, step.stats"
BARE_STEP_COLUMNS = f"{IDENTITY}, {_PLACE}, {_STATE}, null as execution_data, step.stats"

STEPS = "node_execution step join graph_execution run on run.id = step.graph_exec_id"

# Those that were queued come first, in the order in which they were.
STEP_ORDER = """order by step.queued_time is null, coalesce(step.queued_time, step.added_time),
    step.graph_exec_id, step.added_seq"""


async def get_node_execution(
    db: asyncpg.Pool,
    node_exec_id: str,
    *,
    graph_exec_id: str | None = None,
    user_id: str | None = None,
) -> NodeExecutionResult | None:
    """A step of any owner unless `user_id` is given, or None.

    Raises AmbiguousStep when several runs have a step of that id.
    """
    async with snapshot(db) as connection:
        row = await _find_step(connection, node_exec_id, graph_exec_id, user_id)
        if row is None:
            return None
        return (await build_steps(connection, [row], INPUTS_AND_OUTPUTS))[0]


async def get_execution_outputs_by_node_exec_id(
    db: asyncpg.Pool,
    node_exec_id: str,
    *,
    graph_exec_id: str | None = None,
    user_id: str | None = None,
) -> CompletedBlockOutput:
    """All values a step of any owner (unless `user_id` is given) emitted, by pin, in their order.

    Raises AmbiguousStep when several runs have a step of that id.
    """
    async with snapshot(db) as connection:
        row = await _find_step(connection, node_exec_id, graph_exec_id, user_id)
        if row is None:
            return {}
        pins = await get_pins(connection, [row], OUTPUTS)
        return pins[row["graph_exec_id"], row["id"]].outputs


async def get_node_executions(
    db: asyncpg.Pool,
    graph_exec_id: str | None = None,
    node_id: str | None = None,
    block_ids: Sequence[str] | None = None,
    statuses: Sequence[ExecutionStatus] | None = None,
    limit: int | None = None,
    created_time_gte: datetime | None = None,
    created_time_lte: datetime | None = None,
    include_exec_data: bool = True,
    *,
    user_id: str | None = None,
) -> list[NodeExecutionResult]:
    """Steps of all owners unless `user_id` is given, in the order in which they were queued.

    Those never queued come last. Times are those of their creation. Without a limit all are
    returned; empty lists ask for nothing. Without `include_exec_data` steps come without values.
    """
    where = _in_run(graph_exec_id)
    where.add("run.user_id = {}", user_id)
    where.add("step.node_id = {}", node_id)
    where.add_any("step.block_id = any({})", block_ids)
    where.add_any("step.status = any({})", statuses)
    where.add("step.added_time >= {}", created_time_gte)
    where.add("step.added_time <= {}", created_time_lte)
    columns = STEP_COLUMNS if include_exec_data else BARE_STEP_COLUMNS
    async with snapshot(db) as connection:
        rows = await connection.fetch(
            f"select {columns} from {STEPS} where {where} {STEP_ORDER} limit {where.arg(limit)}",
            *where.args,
        )
        types = INPUTS_AND_OUTPUTS if include_exec_data else ()
        return await build_steps(connection, rows, types, of_many_runs=graph_exec_id is None)


LATEST = f"""
select {STEP_COLUMNS} from {STEPS}
where not run.is_deleted and step.graph_exec_id = $1 and step.run_day = {DAY_OF_RUN.format("$1")}
  and step.node_id = $2 and ($3::text is null or run.user_id = $3)
  and step.status not in ('INCOMPLETE', 'REVIEW')
order by step.queued_time desc nulls last, step.added_time desc, step.added_seq desc limit 1
"""


async def get_latest_node_execution(
    db: asyncpg.Pool, node_id: str, graph_eid: str, *, user_id: str | None = None
) -> NodeExecutionResult | None:
    """The newest step of a node in a run of any owner unless `user_id` is given, or None.

    Newest by when it was queued, then added. Steps that wait for input or review do not count.
    """
    async with snapshot(db) as connection:
        rows = await connection.fetch(LATEST, parse_id(graph_eid), node_id, user_id)
        steps = await build_steps(connection, rows, INPUTS_AND_OUTPUTS)
        return steps[0] if steps else None


async def build_steps(
    connection: asyncpg.Connection,
    rows: Sequence[Mapping[str, Any]],
    types: Collection[str],
    until: int = NO_LIMIT,
    *,
    of_many_runs: bool = False,
) -> list[NodeExecutionResult]:
    """Steps from rows of STEP_COLUMNS, with values of the given types up to entry `until`.

    Raises UnreadableRun; of many runs, those that cannot be read are left out instead.
    """
    pins = await get_pins(connection, rows, types, until)

    def build(row: Mapping[str, Any]) -> NodeExecutionResult:
        of_step = pins[row["graph_exec_id"], row["id"]]
        return NodeExecutionResult.from_db(row, of_step.inputs, of_step.outputs)

    return readable(rows, build) if of_many_runs else [build(row) for row in rows]


def _in_run(graph_exec_id: str | None) -> Where:
    where = Where("not run.is_deleted")
    where.add_id(f"step.graph_exec_id = {{0}} and step.run_day = {DAY_OF_RUN}", graph_exec_id)
    return where


async def _find_step(
    connection: asyncpg.Connection,
    node_exec_id: str,
    graph_exec_id: str | None,
    user_id: str | None,
) -> Mapping[str, Any] | None:
    where = _in_run(graph_exec_id)
    where.add_id("step.id = {}", node_exec_id)
    where.add("run.user_id = {}", user_id)
    rows: list[Mapping[str, Any]] = await connection.fetch(
        f"select {STEP_COLUMNS} from {STEPS} where {where}", *where.args
    )
    if len(rows) > 1:
        raise AmbiguousStep(node_exec_id, (row["graph_exec_id"] for row in rows))
    return rows[0] if rows else None
