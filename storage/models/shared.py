"""The public part of a run, for holders of its share token."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from execstream.storage.models.derived import BlockTypes, run_outputs
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.values import CompletedBlockOutput
from execstream.storage.schema.tables import RUNS
from execstream.storage.unreadable_rows import Cell, reading
from execstream.streams.statuses import ExecutionStatus


class SharedExecutionResponse(BaseModel):
    """Outputs only: no inputs, no owner, no steps."""

    id: str
    graph_name: str
    graph_description: str | None = None
    status: ExecutionStatus
    created_at: datetime
    outputs: CompletedBlockOutput

    @classmethod
    def from_db(
        cls,
        record: Mapping[str, Any],
        steps: Sequence[NodeExecutionResult],
        block_types: BlockTypes,
    ) -> Self:
        """Build the answer from a run's row, joined with its graph, and its OUTPUT steps.

        Raises UnreadableRun.
        """
        with reading(record["id"], Cell(RUNS.name)):
            return cls(
                id=str(record["id"]),
                graph_name=record["graph_name"] or "Untitled Agent",
                graph_description=record["graph_description"],
                status=record["status"],
                created_at=record["created_at"],
                outputs=run_outputs(steps, block_types),
            )
