"""Rows of the original's tables. Times are UTC without a zone, JSON is text as Postgres has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

Json = str | None


class Table(StrEnum):
    """The tables that are imported."""

    RUNS = "AgentGraphExecution"
    STEPS = "AgentNodeExecution"
    VALUES = "AgentNodeExecutionInputOutput"
    KEY_VALUES = "AgentNodeExecutionKeyValueData"


class Value(NamedTuple):
    """An input or output of a step."""

    id: str
    step_id: str
    is_output: bool
    name: str
    data: Json
    time: datetime


@dataclass(slots=True)
class SourceStep:
    """A row of AgentNodeExecution, with its values; `block_id` is that of its node."""

    id: str
    run_id: str
    node_id: str
    block_id: str | None
    status: str
    execution_data: Json
    added: datetime
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    stats: Json
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


@dataclass(slots=True)
class SourceRun:
    """A row of AgentGraphExecution, with its steps in the order in which they were added."""

    id: str
    created: datetime
    updated: datetime | None
    started: datetime | None
    ended: datetime | None
    is_deleted: bool
    status: str
    graph_id: str
    graph_version: int
    preset_id: str | None
    inputs: Json
    credential_inputs: Json
    nodes_input_masks: Json
    user_id: str
    stats: Json
    parent_id: str | None
    is_shared: bool
    share_token: str | None
    shared: datetime | None
    steps: list[SourceStep] = field(default_factory=list)


class SourceKeyValue(NamedTuple):
    """A row of AgentNodeExecutionKeyValueData."""

    user_id: str
    key: str
    step_id: str
    data: Json
    created: datetime
    updated: datetime | None


class RowId(NamedTuple):
    """A row of the original."""

    table: Table
    id: str


class LeftOut(NamedTuple):
    """A row that is not imported, with the reason."""

    row: RowId
    reason: str
    detail: Mapping[str, object]


class Difference(NamedTuple):
    """A column of a row that has another value here, since the rules allow no other."""

    row: RowId
    column: str
    original: object
    imported: object
