"""Entries of the execution queue: the fields that an executor needs to run a graph or a node."""

from pydantic import BaseModel, ConfigDict, Field

from execstream.storage.models.context import ExecutionContext
from execstream.storage.models.values import BlockInput, NodesInputMasks


class GraphExecutionEntry(BaseModel):
    """A run to be executed."""

    model_config = ConfigDict(extra="ignore")

    user_id: str
    graph_exec_id: str
    graph_id: str
    graph_version: int
    nodes_input_masks: NodesInputMasks | None = None
    nodes_to_skip: set[str] = Field(default_factory=set)
    execution_context: ExecutionContext = Field(default_factory=ExecutionContext)


class NodeExecutionEntry(BaseModel):
    """A step to be executed."""

    model_config = ConfigDict(extra="ignore")

    user_id: str
    graph_exec_id: str
    graph_id: str
    graph_version: int
    node_exec_id: str
    node_id: str
    block_id: str
    inputs: BlockInput
    execution_context: ExecutionContext = Field(default_factory=ExecutionContext)
    pre_flight_charge: int | None = Field(default=None, exclude=True)  # cents
