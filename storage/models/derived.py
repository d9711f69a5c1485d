"""A run's inputs and outputs, derived from its steps.

A block the catalogue does not know has no kind and gives nothing; it never makes a read fail.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from execstream.storage.models.blocks import WEBHOOKS
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.models.values import CompletedBlockOutput, GraphInput
from execstream.streams.statuses import ExecutionStatus

BlockTypes = Mapping[str, str]
"""Kinds of blocks by `block_id`."""


def run_inputs(
    stored: GraphInput | None, steps: Iterable[NodeExecutionResult], block_types: BlockTypes
) -> GraphInput:
    """The stored inputs, else the inputs of the INPUT blocks; and the payload of a webhook."""
    inputs: dict[str, Any] = {}
    payload: dict[str, Any] = {}
    for step in _begun(steps):
        kind = block_types.get(step.block_id)
        if kind in WEBHOOKS and "payload" in step.input_data:
            payload["payload"] = step.input_data["payload"]
        elif kind == "INPUT" and (name := _name(step)) is not None:
            inputs[name] = step.input_data.get("value")
    return (inputs if stored is None else stored) | payload


def run_outputs(
    steps: Iterable[NodeExecutionResult], block_types: BlockTypes
) -> CompletedBlockOutput:
    """The values its OUTPUT blocks were given, by name, in the order of `steps`."""
    outputs: CompletedBlockOutput = {}
    for step in _begun(steps):
        is_output = block_types.get(step.block_id) == "OUTPUT"
        if is_output and (name := _name(step)) is not None:
            outputs.setdefault(name, []).append(step.input_data.get("value"))
    return outputs


def _begun(steps: Iterable[NodeExecutionResult]) -> Iterable[NodeExecutionResult]:
    return (step for step in steps if step.status != ExecutionStatus.INCOMPLETE)


def _name(step: NodeExecutionResult) -> str | None:
    """None for a step that was never given the name of its value."""
    name = step.input_data.get("name")
    return name if isinstance(name, str) else None
