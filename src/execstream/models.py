"""Models that the reads return, the event buses deliver and the queues carry."""

from execstream.storage.models.blocks import (
    BlockErrorStats as BlockErrorStats,
)
from execstream.storage.models.blocks import (
    BlockType as BlockType,
)
from execstream.storage.models.context import ExecutionContext as ExecutionContext
from execstream.storage.models.graph_execution import (
    GraphExecution as GraphExecution,
)
from execstream.storage.models.graph_execution import (
    GraphExecutionMeta as GraphExecutionMeta,
)
from execstream.storage.models.graph_execution import (
    GraphExecutionWithNodes as GraphExecutionWithNodes,
)
from execstream.storage.models.messages import (
    ExecutionEvent as ExecutionEvent,
)
from execstream.storage.models.messages import (
    ExecutionEventType as ExecutionEventType,
)
from execstream.storage.models.messages import (
    GraphExecutionEvent as GraphExecutionEvent,
)
from execstream.storage.models.messages import (
    NodeExecutionEvent as NodeExecutionEvent,
)
from execstream.storage.models.node_execution import NodeExecutionResult as NodeExecutionResult
from execstream.storage.models.pages import (
    GraphExecutionsPage as GraphExecutionsPage,
)
from execstream.storage.models.pages import (
    GraphExecutionsPaginated as GraphExecutionsPaginated,
)
from execstream.storage.models.pages import (
    Pagination as Pagination,
)
from execstream.storage.models.queue_entries import (
    GraphExecutionEntry as GraphExecutionEntry,
)
from execstream.storage.models.queue_entries import (
    NodeExecutionEntry as NodeExecutionEntry,
)
from execstream.storage.models.shared import SharedExecutionResponse as SharedExecutionResponse
from execstream.storage.models.stats import (
    GraphExecutionStats as GraphExecutionStats,
)
from execstream.storage.models.stats import (
    NodeExecutionStats as NodeExecutionStats,
)
from execstream.storage.models.summaries import (
    DayCost as DayCost,
)
from execstream.storage.models.summaries import (
    ExecutionDiagnostics as ExecutionDiagnostics,
)
from execstream.storage.models.summaries import (
    FrequentlyExecutedGraph as FrequentlyExecutedGraph,
)
from execstream.storage.models.summaries import (
    GraphCost as GraphCost,
)
from execstream.storage.models.summaries import (
    RunCost as RunCost,
)
from execstream.storage.models.summaries import (
    UserCostSummary as UserCostSummary,
)
from execstream.storage.models.values import (
    BlockInput as BlockInput,
)
from execstream.storage.models.values import (
    BlockOutput as BlockOutput,
)
from execstream.storage.models.values import (
    BlockOutputEntry as BlockOutputEntry,
)
from execstream.storage.models.values import (
    CompletedBlockOutput as CompletedBlockOutput,
)
from execstream.storage.models.values import (
    CredentialsMetaInput as CredentialsMetaInput,
)
from execstream.storage.models.values import (
    GraphInput as GraphInput,
)
from execstream.storage.models.values import (
    NodeInputMask as NodeInputMask,
)
from execstream.storage.models.values import (
    NodesInputMasks as NodesInputMasks,
)
from execstream.streams.statuses import ExecutionStatus as ExecutionStatus
