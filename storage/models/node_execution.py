"""A step, with all its values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from execstream.storage.models.context import ExecutionContext
from execstream.storage.models.queue_entries import NodeExecutionEntry
from execstream.storage.models.stats import NodeExecutionStats, stats_from_db
from execstream.storage.models.values import BlockInput, CompletedBlockOutput
from execstream.storage.schema.tables import STEPS
from execstream.storage.unreadable_rows import Cell, reading
from execstream.streams.statuses import ExecutionStatus


class NodeExecutionResult(BaseModel):
    """The whole state of a step. All times are UTC."""

    user_id: str
    graph_id: str
    graph_version: int
    graph_exec_id: str
    node_exec_id: str
    node_id: str
    block_id: str
    status: ExecutionStatus
    input_data: BlockInput
    output_data: CompletedBlockOutput
    add_time: datetime
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    stats: NodeExecutionStats | None = None

    @classmethod
    def from_db(
        cls,
        record: Mapping[str, Any],
        inputs: BlockInput | None = None,
        outputs: CompletedBlockOutput | None = None,
    ) -> Self:
        """Build a step from its row, joined with its run's owner and graph.

        `inputs` are the stored ones, which count only when the row has no `execution_data`. Raises
        UnreadableRun.
        """
        cell = Cell(record.get("told_by", STEPS.name), f"step {record['id']}")
        with reading(record["graph_exec_id"], cell):
            return cls(**_columns(record, inputs or {}, outputs or {}))

    def to_node_execution_entry(self, execution_context: ExecutionContext) -> NodeExecutionEntry:
        """The entry that has this step executed."""
        return NodeExecutionEntry(
            user_id=self.user_id,
            graph_exec_id=self.graph_exec_id,
            graph_id=self.graph_id,
            graph_version=self.graph_version,
            node_exec_id=self.node_exec_id,
            node_id=self.node_id,
            block_id=self.block_id,
            inputs=self.input_data,
            execution_context=execution_context,
        )


def _without_cleared_inputs(inputs: BlockInput, stats: NodeExecutionStats | None) -> BlockInput:
    """One pin holds one value, so the last message stands in for all cleared values."""
    if stats is None or not stats.cleared_inputs:
        return inputs
    return {name: messages[-1] for name, messages in stats.cleared_inputs.items() if messages}


def _without_cleared_outputs(
    outputs: CompletedBlockOutput, stats: NodeExecutionStats | None
) -> CompletedBlockOutput:
    if stats is None or not stats.cleared_outputs:
        return outputs
    return {name: list(messages) for name, messages in stats.cleared_outputs.items()}


def _columns(
    record: Mapping[str, Any], inputs: BlockInput, outputs: CompletedBlockOutput
) -> dict[str, Any]:
    stats = stats_from_db(
        NodeExecutionStats,
        record["stats"],
        graph_exec_id=str(record["graph_exec_id"]),
        node_exec_id=str(record["id"]),
    )
    input_data = record["execution_data"]
    return {
        "user_id": record["user_id"],
        "graph_id": record["graph_id"],
        "graph_version": record["graph_version"],
        "graph_exec_id": str(record["graph_exec_id"]),
        "node_exec_id": str(record["id"]),
        "node_id": record["node_id"],
        "block_id": record["block_id"],
        "status": record["status"],
        "input_data": _without_cleared_inputs(inputs if input_data is None else input_data, stats),
        "output_data": _without_cleared_outputs(outputs, stats),
        "add_time": record["added_time"],
        "queue_time": record["queued_time"],
        "start_time": record["started_time"],
        "end_time": record["ended_time"],
        "stats": stats,
    }
