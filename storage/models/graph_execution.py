"""A run: its head (`Meta`), with inputs and outputs, and with all its steps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Self

from pydantic import BaseModel

from execstream.storage.models.context import ExecutionContext
from execstream.storage.models.derived import BlockTypes, run_inputs, run_outputs
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.queue_entries import GraphExecutionEntry
from execstream.storage.models.stats import GraphExecutionStats, error_text, stats_from_db
from execstream.storage.models.values import (
    BlockInput,
    CompletedBlockOutput,
    CredentialsMetaInput,
    GraphInput,
    NodesInputMasks,
)
from execstream.storage.schema.tables import RUNS
from execstream.storage.unreadable_rows import Cell, reading
from execstream.streams.statuses import ExecutionStatus

# Stats that readers know by another name than they are stored under.
_STORED_NAME = {
    "duration": "walltime",
    "duration_cpu_only": "cputime",
    "node_exec_time": "nodes_walltime",
    "node_exec_time_cpu_only": "nodes_cputime",
    "node_exec_count": "node_count",
}
_NO_BLOCKS: BlockTypes = MappingProxyType({})


class GraphExecutionMeta(BaseModel):
    """A run without its steps. All times are UTC."""

    class Stats(BaseModel):
        """Stats in the names readers know. Times are seconds, cost is cents."""

        cost: int = 0
        duration: float = 0
        duration_cpu_only: float = 0
        node_exec_time: float = 0
        node_exec_time_cpu_only: float = 0
        node_exec_count: int = 0
        node_error_count: int = 0
        error: str | None = None
        activity_status: str | None = None
        correctness_score: float | None = None  # 0 to 1

        @classmethod
        def from_db(cls, stored: GraphExecutionStats) -> Self:
            """Stats as stored, in the reader's names."""
            values = {
                name: getattr(stored, _STORED_NAME.get(name, name)) for name in cls.model_fields
            }
            return cls(**values | {"error": error_text(stored.error)})

        def to_db(self) -> GraphExecutionStats:
            """The same stats in the names they are stored under."""
            return GraphExecutionStats(
                **{_STORED_NAME.get(name, name): value for name, value in self}
            )

        def without_activity_features(self) -> Self:
            """A copy without the fields that a model wrote about the run."""
            return self.model_copy(update={"activity_status": None, "correctness_score": None})

    id: str
    user_id: str
    graph_id: str
    graph_version: int
    inputs: GraphInput | None = None
    # Any JSON object is accepted as credentials; any other value stays as it was sent.
    credential_inputs: dict[str, CredentialsMetaInput | Any] | None = None
    nodes_input_masks: dict[str, BlockInput | Any] | None = None
    preset_id: str | None = None
    status: ExecutionStatus
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_shared: bool = False
    # Always None when read: only the hash of a token is stored.
    share_token: str | None = None
    is_dry_run: bool = False
    # Texts by key that its creator chose.
    attributes: dict[str, str] | None = None
    # When retention dropped its steps, their values and its journal.
    trimmed_at: datetime | None = None
    stats: Stats | None = None

    @classmethod
    def from_db(cls, record: Mapping[str, Any]) -> Self:
        """Build a run from its row. Raises UnreadableRun."""
        with reading(record["id"], _cell(record)):
            return cls(**_columns(record))


class GraphExecution(GraphExecutionMeta):
    """A run with its inputs and outputs."""

    inputs: GraphInput
    outputs: CompletedBlockOutput

    @classmethod
    def from_db(
        cls,
        record: Mapping[str, Any],
        steps: Sequence[NodeExecutionResult] = (),
        block_types: BlockTypes = _NO_BLOCKS,
    ) -> Self:
        """Build a run from its row and, in their order, at least the steps of INTERFACE blocks.

        Raises UnreadableRun.
        """
        with reading(record["id"], _cell(record)):
            return cls(**_columns(record) | _interface(record, steps, block_types))


class GraphExecutionWithNodes(GraphExecution):
    """A run with every one of its steps."""

    node_executions: list[NodeExecutionResult]

    @classmethod
    def from_db(
        cls,
        record: Mapping[str, Any],
        steps: Sequence[NodeExecutionResult] = (),
        block_types: BlockTypes = _NO_BLOCKS,
    ) -> Self:
        """Build a run from its row and all its steps in their order. Raises UnreadableRun."""
        with reading(record["id"], _cell(record)):
            return cls(
                **_columns(record) | _interface(record, steps, block_types),
                node_executions=list(steps),
            )

    def to_graph_execution_entry(
        self,
        execution_context: ExecutionContext,
        compiled_nodes_input_masks: NodesInputMasks | None = None,
    ) -> GraphExecutionEntry:
        """The entry that has this run executed."""
        return GraphExecutionEntry(
            user_id=self.user_id,
            graph_exec_id=self.id,
            graph_id=self.graph_id,
            graph_version=self.graph_version,
            nodes_input_masks=compiled_nodes_input_masks,
            execution_context=execution_context,
        )


def _cell(record: Mapping[str, Any]) -> Cell:
    """The table that the row comes from: as of a moment it is the journal."""
    return Cell(record.get("told_by", RUNS.name))


def _columns(record: Mapping[str, Any]) -> dict[str, Any]:
    run_id = str(record["id"])
    stats = stats_from_db(GraphExecutionStats, record["stats"], graph_exec_id=run_id)
    return {
        "id": run_id,
        "user_id": record["user_id"],
        "graph_id": record["graph_id"],
        "graph_version": record["graph_version"],
        "inputs": record["inputs"],
        "credential_inputs": record["credential_inputs"],
        "nodes_input_masks": record["nodes_input_masks"],
        "preset_id": record["preset_id"],
        "status": record["status"],
        "created_at": record["created_at"],
        "started_at": record["started_at"],
        "ended_at": record["ended_at"],
        "is_shared": record["is_shared"],
        "is_dry_run": record["dry_run"],
        "attributes": record["attributes"],
        "trimmed_at": record.get("trimmed_at"),
        "stats": None if stats is None else GraphExecutionMeta.Stats.from_db(stats),
    }


def _interface(
    record: Mapping[str, Any], steps: Sequence[NodeExecutionResult], block_types: BlockTypes
) -> dict[str, Any]:
    stored = record["inputs"]
    is_readable = stored is None or isinstance(stored, dict)
    return {
        "inputs": run_inputs(stored, steps, block_types) if is_readable else stored,
        "outputs": run_outputs(steps, block_types),
    }
