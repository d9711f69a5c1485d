"""One run: its head, inputs, outputs and steps. A deleted run is None."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, overload

import asyncpg

from execstream.storage.models.blocks import INTERFACE, BlockType
from execstream.storage.models.graph_execution import (
    GraphExecution,
    GraphExecutionMeta,
    GraphExecutionWithNodes,
)
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.shared import SharedExecutionResponse
from execstream.storage.querying import parse_id, snapshot
from execstream.storage.reads.pins import INPUTS, INPUTS_AND_OUTPUTS
from execstream.storage.reads.share_tokens import hash_share_token
from execstream.storage.reads.steps import STEP_COLUMNS, STEP_ORDER, build_steps

_RUN_COLUMNS = """id, user_id, graph_id, graph_version, {}, preset_id, dry_run, status, stats,
    attributes, is_shared, created_at, started_at, ended_at, trimmed_at"""
RUN_COLUMNS = _RUN_COLUMNS.format("inputs, credential_inputs, nodes_input_masks")
# The inputs of a run may be megabytes, which are not read for a list.
BARE_RUN_COLUMNS = _RUN_COLUMNS.format(
    "null as inputs, null as credential_inputs, null as nodes_input_masks"
)

GET_RUN = f"""
select {RUN_COLUMNS}, (created_at at time zone 'UTC')::date as run_day
from graph_execution where id = $1 and user_id = $2 and not is_deleted
"""


async def get_graph_execution_meta(
    db: asyncpg.Pool, user_id: str, execution_id: str
) -> GraphExecutionMeta | None:
    """A user's run without its steps, or None."""
    row = await db.fetchrow(GET_RUN, parse_id(execution_id), user_id)
    return None if row is None else GraphExecutionMeta.from_db(row)


@overload
async def get_graph_execution(
    db: asyncpg.Pool,
    user_id: str,
    execution_id: str,
    include_node_executions: Literal[False] = False,
) -> GraphExecution | None: ...


@overload
async def get_graph_execution(
    db: asyncpg.Pool, user_id: str, execution_id: str, include_node_executions: Literal[True]
) -> GraphExecutionWithNodes | None: ...


@overload
async def get_graph_execution(
    db: asyncpg.Pool, user_id: str, execution_id: str, include_node_executions: bool
) -> GraphExecution | GraphExecutionWithNodes | None: ...


async def get_graph_execution(
    db: asyncpg.Pool, user_id: str, execution_id: str, include_node_executions: bool = False
) -> GraphExecution | GraphExecutionWithNodes | None:
    """A user's run with its inputs and outputs, and with all its steps if asked for, or None."""
    async with snapshot(db) as connection:
        run = await connection.fetchrow(GET_RUN, parse_id(execution_id), user_id)
        if run is None:
            return None
        if include_node_executions:
            steps, kinds = await _steps(connection, run, None, INPUTS_AND_OUTPUTS)
            return GraphExecutionWithNodes.from_db(run, steps, kinds)
        steps, kinds = await _steps(connection, run, INTERFACE, INPUTS)
        return GraphExecution.from_db(run, steps, kinds)


GET_SHARED_RUN = """
select run.id, run.status, run.created_at, (run.created_at at time zone 'UTC')::date as run_day,
    graph.name as graph_name, graph.description as graph_description
from graph_execution run
left join graph on graph.id = run.graph_id and graph.version = run.graph_version
where run.share_token_hash = $1 and run.is_shared and not run.is_deleted
"""


async def get_graph_execution_by_share_token(
    db: asyncpg.Pool, share_token: str
) -> SharedExecutionResponse | None:
    """The outputs of a shared run, for anyone who holds its token.

    The token is looked up by its hash, so the time of the answer does not reveal how much of a
    guess was right; unknown, revoked and deleted tokens have the same answer.
    """
    async with snapshot(db) as connection:
        run = await connection.fetchrow(GET_SHARED_RUN, hash_share_token(share_token))
        if run is None:
            return None
        steps, kinds = await _steps(connection, run, {BlockType.OUTPUT}, INPUTS)
        return SharedExecutionResponse.from_db(run, steps, kinds)


# A block the catalogue does not know has no kind, yet its steps belong to the run.
GET_STEPS = f"""
select {STEP_COLUMNS}, block.block_type
from node_execution step
join graph_execution run on run.id = step.graph_exec_id
left join block on block.id = step.block_id
where step.graph_exec_id = $1 and step.run_day = $2
  and ($3::text[] is null or block.block_type = any($3) and step.status <> 'INCOMPLETE')
{STEP_ORDER}
"""


async def _steps(
    connection: asyncpg.Connection,
    run: Mapping[str, Any],
    kinds: Collection[BlockType] | None,
    pins: Collection[str],
) -> tuple[list[NodeExecutionResult], dict[str, str]]:
    """The begun steps of blocks of some kinds, or all steps; and the kinds of their blocks."""
    rows = await connection.fetch(
        GET_STEPS, run["id"], run["run_day"], None if kinds is None else sorted(kinds)
    )
    block_types = {row["block_id"]: row["block_type"] for row in rows if row["block_type"]}
    return await build_steps(connection, rows, pins), block_types
