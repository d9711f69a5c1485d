"""The original's writing functions with its exact signatures: run, owner and block are looked up.

As in the original, a move that the rules forbid changes nothing and returns the row as it is; the
table `refusal` keeps it. Wrong arguments and unknown executions are ValueErrors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from execstream.client.errors import CommandRefused
from execstream.client.shared_client import SharedClient, StepRun, shared_client
from execstream.storage.models.graph_execution import GraphExecution, GraphExecutionWithNodes
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.stats import GraphExecutionStats, NodeExecutionStats
from execstream.storage.reads.run_detail import get_graph_execution
from execstream.storage.reads.steps import get_node_execution
from execstream.streams.commands import MAX_BATCH_OF_STEPS
from execstream.streams.outcomes import Refusal
from execstream.streams.statuses import ExecutionStatus

log = structlog.get_logger(__name__)

Json = Any
Document = Mapping[str, Json]


async def create_graph_execution(
    graph_id: str,
    graph_version: int,
    starting_nodes_input: Sequence[tuple[str, Document]],
    inputs: Document | None,
    user_id: str,
    preset_id: str | None = None,
    credential_inputs: Document | None = None,
    nodes_input_masks: Document | None = None,
    parent_graph_exec_id: str | None = None,
) -> GraphExecutionWithNodes:
    """Create a run, INCOMPLETE, with its starting steps QUEUED."""
    at = await shared_client()
    return await at.client.create_graph_execution(
        graph_id,
        graph_version,
        starting_nodes_input,
        inputs,
        user_id,
        preset_id,
        credential_inputs,
        nodes_input_masks,
        parent_graph_exec_id,
        block_ids=await at.blocks_of(node_id for node_id, _ in starting_nodes_input),
    )


async def update_graph_execution_start_time(graph_exec_id: str) -> GraphExecution | None:
    """Move a run to RUNNING and set its start; None for an unknown run."""
    at = await shared_client()
    user_id = await at.owner_of(graph_exec_id)
    if user_id is None:
        return None
    try:
        return await at.client.update_graph_execution_start_time(graph_exec_id, user_id=user_id)
    except CommandRefused as refused:
        _unless_forbidden(refused)
        return await get_graph_execution(at.db, user_id, graph_exec_id)


async def update_graph_execution_stats(
    graph_exec_id: str,
    status: ExecutionStatus | None = None,
    stats: GraphExecutionStats | None = None,
) -> GraphExecution | None:
    """Move a run, replace its stats, or both."""
    at = await shared_client()
    user_id = await _owner(at, graph_exec_id)
    try:
        return await at.client.update_graph_execution_stats(
            graph_exec_id, status, stats, user_id=user_id
        )
    except CommandRefused as refused:
        _unless_forbidden(refused)
        return await get_graph_execution(at.db, user_id, graph_exec_id)


async def update_node_execution_status(
    node_exec_id: str,
    status: ExecutionStatus,
    execution_data: Document | None = None,
    stats: Document | NodeExecutionStats | None = None,
) -> NodeExecutionResult:
    """Move a step; QUEUED needs its data."""
    at = await shared_client()
    run = await at.run_of(node_exec_id)
    try:
        return await at.client.update_node_execution_status(
            node_exec_id, status, execution_data, stats, **run._asdict()
        )
    except CommandRefused as refused:
        _unless_forbidden(refused)
        found = await get_node_execution(at.db, node_exec_id, **run._asdict())
        if found is None:
            raise
        return found


async def update_node_execution_status_batch(
    node_exec_ids: list[str],
    status: ExecutionStatus,
    stats: Document | NodeExecutionStats | None = None,
) -> int:
    """Move those steps, of any runs, that may move; return their number."""
    at = await shared_client()
    by_run: defaultdict[StepRun, list[str]] = defaultdict(list)
    for node_exec_id in node_exec_ids:
        by_run[await at.run_of(node_exec_id)].append(node_exec_id)
    moved = 0
    for run, ids in by_run.items():
        for begin in range(0, len(ids), MAX_BATCH_OF_STEPS):
            some = ids[begin : begin + MAX_BATCH_OF_STEPS]
            try:
                moved += await at.client.update_node_execution_status_batch(
                    some, status, stats, **run._asdict()
                )
            except CommandRefused as refused:
                _unless_forbidden(refused)
    return moved


async def upsert_execution_input(
    node_id: str,
    graph_exec_id: str,
    input_name: str,
    input_data: Json,
    node_exec_id: str | None = None,
) -> tuple[NodeExecutionResult, dict[str, Json]]:
    """Give a value to the oldest step of the node that lacks the pin, or to a new one; return the
    step and its inputs so far."""
    at = await shared_client()
    user_id = await _owner(at, graph_exec_id)
    blocks = await at.blocks_of([node_id])
    try:
        return await at.client.upsert_execution_input(
            node_id,
            graph_exec_id,
            input_name,
            input_data,
            node_exec_id,
            user_id=user_id,
            block_id=blocks[node_id],
        )
    except CommandRefused as refused:
        raise ValueError(str(refused)) from refused


async def upsert_execution_output(node_exec_id: str, output_name: str, output_data: Json) -> None:
    """Append a value to the output of a step on a pin."""
    at = await shared_client()
    run = await at.run_of(node_exec_id)
    await at.client.upsert_execution_output(node_exec_id, output_name, output_data, **run._asdict())


async def delete_graph_execution(
    graph_exec_id: str, user_id: str, soft_delete: bool = True
) -> None:
    """Hide a run from all reads, or erase it; an error when the user has no such run."""
    at = await shared_client()
    await at.client.delete_graph_execution(graph_exec_id, user_id, soft_delete)


async def set_execution_kv_data(user_id: str, node_exec_id: str, key: str, data: Json) -> Json:
    """Set one of a user's key-values; return the data."""
    at = await shared_client()
    return await at.client.set_execution_kv_data(user_id, node_exec_id, key, data)


async def update_graph_execution_share_status(
    execution_id: str,
    user_id: str,
    is_shared: bool,
    share_token: str | None,
    shared_at: datetime | None,
) -> None:
    """Share a run with the holder of the token, or stop it; only the token's hash is stored."""
    at = await shared_client()
    await at.client.update_graph_execution_share_status(
        execution_id, user_id, is_shared, share_token, shared_at
    )


async def _owner(at: SharedClient, graph_exec_id: str) -> str:
    user_id = await at.owner_of(graph_exec_id)
    if user_id is None:
        raise ValueError(f"Run {graph_exec_id} was not found.")
    return user_id


def _unless_forbidden(refused: CommandRefused) -> None:
    """Return for a move that the rules forbid; another reason is a ValueError."""
    if refused.reason != Refusal.ILLEGAL_TRANSITION:
        raise ValueError(str(refused)) from refused
    log.info("move_refused", command_id=refused.command_id, detail=refused.detail)
