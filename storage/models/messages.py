"""Messages of the Redis channels: the whole state of a run or a step after an event."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from execstream.storage.models.graph_execution import GraphExecution
from execstream.storage.models.node_execution import NodeExecutionResult


class ExecutionEventType(StrEnum):
    """The subject of a message; all subscribers distinguish messages by it."""

    GRAPH_EXEC_UPDATE = "graph_execution_update"
    NODE_EXEC_UPDATE = "node_execution_update"


class EventOrigin(BaseModel):
    """The origin of an event: its number within the run, cause, and position among all events.

    None in an event that was made by hand and never travelled.
    """

    seq: int | None = None
    command_id: str | None = None
    source: tuple[int, int, int] | None = None  # partition, offset, index
    truncated: bool = False
    replayed: bool = False  # published again; may have been received before


class GraphExecutionEvent(GraphExecution, EventOrigin):
    """A run changed."""

    event_type: Literal[ExecutionEventType.GRAPH_EXEC_UPDATE] = ExecutionEventType.GRAPH_EXEC_UPDATE


class NodeExecutionEvent(NodeExecutionResult, EventOrigin):
    """A step changed."""

    event_type: Literal[ExecutionEventType.NODE_EXEC_UPDATE] = ExecutionEventType.NODE_EXEC_UPDATE


ExecutionEvent = Annotated[
    GraphExecutionEvent | NodeExecutionEvent, Field(discriminator="event_type")
]
