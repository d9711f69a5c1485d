"""What reads return and queues carry: pydantic models under the names of the original."""

from execstream.storage.models.blocks import BlockErrorStats, BlockType
from execstream.storage.models.context import ExecutionContext
from execstream.storage.models.graph_execution import (
    GraphExecution,
    GraphExecutionMeta,
    GraphExecutionWithNodes,
)
from execstream.storage.models.messages import (
    ExecutionEvent,
    ExecutionEventType,
    GraphExecutionEvent,
    NodeExecutionEvent,
)
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.pages import (
    GraphExecutionsPage,
    GraphExecutionsPaginated,
    Pagination,
)
from execstream.storage.models.queue_entries import GraphExecutionEntry, NodeExecutionEntry
from execstream.storage.models.shared import SharedExecutionResponse
from execstream.storage.models.stats import GraphExecutionStats, NodeExecutionStats
from execstream.storage.models.summaries import (
    DayCost,
    ExecutionDiagnostics,
    FrequentlyExecutedGraph,
    GraphCost,
    RunCost,
    UserCostSummary,
)
from execstream.storage.models.values import (
    BlockInput,
    BlockOutput,
    BlockOutputEntry,
    CompletedBlockOutput,
    CredentialsMetaInput,
    GraphInput,
    NodeInputMask,
    NodesInputMasks,
)
from execstream.streams.statuses import ExecutionStatus

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
