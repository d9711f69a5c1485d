"""Commands as the contenders read them: without a check of ids, names, text or numbers."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, UnsetType

Json = Raw | UnsetType


class Plain(msgspec.Struct, tag_field="type", kw_only=True):
    """Fields of every command about a run."""

    id: str
    at: datetime
    user_id: str
    graph_exec_id: str


class Starting(msgspec.Struct):
    node_id: str
    block_id: str
    inputs: dict[str, Raw]


class Create(Plain, tag="graph.create", kw_only=True):
    graph_id: str
    graph_version: int
    starting_nodes: list[Starting]
    inputs: Json = UNSET


class Start(Plain, tag="graph.start", kw_only=True):
    pass


class Update(Plain, tag="graph.update", kw_only=True):
    status: str | None = None
    stats: Json = UNSET


class Input(Plain, tag="node.input", kw_only=True):
    node_id: str
    block_id: str
    input_name: str
    input_data: Raw
    node_exec_id: str | None = None
    new_node_exec_id: str | None = None


class Output(Plain, tag="node.output", kw_only=True):
    node_exec_id: str
    output_name: str
    output_data: Raw


class Step(Plain, tag="node.update", kw_only=True):
    node_exec_id: str
    status: str
    stats: Json = UNSET
    execution_data: Json = UNSET


AnyPlain = Create | Start | Update | Input | Output | Step
_decode: Callable[[bytes], AnyPlain] = msgspec.json.Decoder(AnyPlain).decode


def read(value: bytes) -> AnyPlain | None:
    """The command; None for one of another type, which the contenders leave out, and for other
    values.
    """
    try:
        return _decode(value)
    except msgspec.DecodeError:
        return None


def text(json: Json) -> str | None:
    """JSON as text for a parameter of Postgres."""
    return None if isinstance(json, UnsetType) else str(json, "utf-8")
