"""What reads return and queues carry: pydantic models under the names of the original."""

from storage.models.blocks import BlockErrorStats, BlockType
from storage.models.context import ExecutionContext
from storage.models.entries import GraphExecutionEntry, NodeExecutionEntry
from storage.models.events import (
    ExecutionEvent,
    ExecutionEventType,
    GraphExecutionEvent,
    NodeExecutionEvent,
)
from storage.models.graph_execution import (
    GraphExecution,
    GraphExecutionMeta,
    GraphExecutionWithNodes,
)
from storage.models.node_execution import NodeExecutionResult
from storage.models.pages import GraphExecutionsPage, GraphExecutionsPaginated, Pagination
from storage.models.shared import SharedExecutionResponse
from storage.models.stats import GraphExecutionStats, NodeExecutionStats
from storage.models.summaries import (
    DayCost,
    ExecutionDiagnostics,
    FrequentlyExecutedGraph,
    GraphCost,
    RunCost,
    UserCostSummary,
)
from storage.models.values import (
    BlockInput,
    BlockOutput,
    BlockOutputEntry,
    CompletedBlockOutput,
    CredentialsMetaInput,
    GraphInput,
    NodeInputMask,
    NodesInputMasks,
)
from streams.statuses import ExecutionStatus

__all__ = [
    "BlockErrorStats",
    "BlockInput",
    "BlockOutput",
    "BlockOutputEntry",
    "BlockType",
    "CompletedBlockOutput",
    "CredentialsMetaInput",
    "DayCost",
    "ExecutionContext",
    "ExecutionDiagnostics",
    "ExecutionEvent",
    "ExecutionEventType",
    "ExecutionStatus",
    "FrequentlyExecutedGraph",
    "GraphCost",
    "GraphExecution",
    "GraphExecutionEntry",
    "GraphExecutionEvent",
    "GraphExecutionMeta",
    "GraphExecutionStats",
    "GraphExecutionWithNodes",
    "GraphExecutionsPage",
    "GraphExecutionsPaginated",
    "GraphInput",
    "NodeExecutionEntry",
    "NodeExecutionEvent",
    "NodeExecutionResult",
    "NodeExecutionStats",
    "NodeInputMask",
    "NodesInputMasks",
    "Pagination",
    "RunCost",
    "SharedExecutionResponse",
    "UserCostSummary",
]
