"""Commands: requests of producers (`execution.commands.v1`).

The wire form is one JSON object per command, distinguished by `type`. Payloads stay `msgspec.Raw`,
bytes of JSON that are stored and forwarded without being parsed. Names, types and effects:
`docs/contract.md`, section 2. Checks that msgspec cannot express are in `decoding`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, NamedTuple, TypeVar, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from execstream.streams.statuses import ExecutionStatus

MAX_BATCH_OF_STEPS = 1000

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
NAME = r"^[A-Za-z0-9_.:@|-]{1,128}\Z"
TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
_SHA256 = r"^[0-9a-f]{64}\Z"
# The message to a sender, by the pattern that checks the text.
FORMS = {
    UUID: "Expected a lower-case UUID with hyphens",
    NAME: "Expected 1 to 128 of A-Z a-z 0-9 _ . : @ | -",
    TIME: "Expected an RFC 3339 time with an offset and at most 9 digits of a second's fraction",
    _SHA256: "Expected a SHA-256 as 64 lower-case hex digits",
}


class Form(NamedTuple):
    """The pattern that a text must match.

    msgspec does not look at it, since a pattern of its own costs a regular expression per field.
    `forms` has the check of commands, and `enforcing` for all other uses of the types below.
    """

    pattern: str


Uuid = Annotated[str, Form(UUID), Meta(max_length=36)]
Name = Annotated[str, Form(NAME)]
Time = Annotated[str, Form(TIME)]
Pin = Annotated[str, Meta(min_length=1, max_length=512)]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# A JSON object as its bytes; UNSET when absent or null.
Document = Raw | UnsetType
TokenHash = Annotated[str, Form(_SHA256)]


class Command(Struct, tag_field="type", kw_only=True, omit_defaults=True):
    """Fields of every command; `at` is the time of the change, and the only clock."""

    id: Uuid
    at: Time
    user_id: Name
    reply_to: Name | None = None
    v: int | None = 1

    @property
    def type(self) -> str:
        """The wire's `type`, such as `graph.create`."""
        return type_of(self.__class__)

    @property
    def key(self) -> str:
        """The record's key: the run, or the user of a key-value."""
        raise NotImplementedError

    @property
    def time(self) -> datetime:
        """`at` in UTC."""
        return parse_time(self.at)


class RunCommand(Command, kw_only=True, omit_defaults=True):
    """A command about one run, keyed by it."""

    graph_exec_id: Uuid

    @property
    def key(self) -> str:
        return self.graph_exec_id


class StartingNode(Struct, kw_only=True, omit_defaults=True):
    node_id: Name
    block_id: Name
    inputs: dict[Pin, Raw]
    node_exec_id: Uuid | None = None


class CreateGraph(RunCommand, tag="graph.create", kw_only=True, omit_defaults=True):
    graph_id: Name
    graph_version: Version
    starting_nodes: Sequence[StartingNode]
    inputs: Document = UNSET
    credential_inputs: Document = UNSET
    nodes_input_masks: Document = UNSET
    preset_id: Name | None = None
    parent_graph_exec_id: Uuid | None = None
    dry_run: bool | None = None
    attributes: Document = UNSET


class StartGraph(RunCommand, tag="graph.start", kw_only=True, omit_defaults=True):
    pass


class UpdateGraph(RunCommand, tag="graph.update", kw_only=True, omit_defaults=True):
    status: ExecutionStatus | None = None
    stats: Document = UNSET


class ShareGraph(RunCommand, tag="graph.share", kw_only=True, omit_defaults=True):
    is_shared: bool
    share_token_hash: TokenHash | None = None


class DeleteGraph(RunCommand, tag="graph.delete", kw_only=True, omit_defaults=True):
    hard: bool | None = None


class AddNodeInput(RunCommand, tag="node.input", kw_only=True, omit_defaults=True):
    node_id: Name
    block_id: Name
    input_name: Pin
    input_data: Raw
    node_exec_id: Uuid | None = None
    new_node_exec_id: Uuid | None = None


class AddNodeOutput(RunCommand, tag="node.output", kw_only=True, omit_defaults=True):
    node_exec_id: Uuid
    output_name: Pin
    output_data: Raw


class UpdateNode(RunCommand, tag="node.update", kw_only=True, omit_defaults=True):
    node_exec_id: Uuid
    status: ExecutionStatus
    execution_data: Document = UNSET
    stats: Document = UNSET


class UpdateNodes(RunCommand, tag="node.update_many", kw_only=True, omit_defaults=True):
    node_exec_ids: Annotated[Sequence[Uuid], Meta(min_length=1, max_length=MAX_BATCH_OF_STEPS)]
    status: ExecutionStatus
    stats: Document = UNSET


class SetKeyValue(Command, tag="kv.set", kw_only=True, omit_defaults=True):
    # Not `key`: that is the name of the record's key on every command.
    name: Annotated[str, Meta(max_length=512)] = field(name="key")
    data: Raw
    node_exec_id: Uuid

    @property
    def key(self) -> str:
        return self.user_id


AnyCommand = (
    CreateGraph
    | StartGraph
    | UpdateGraph
    | ShareGraph
    | DeleteGraph
    | AddNodeInput
    | AddNodeOutput
    | UpdateNode
    | UpdateNodes
    | SetKeyValue
)
AnyRunCommand = TypeVar("AnyRunCommand", bound=RunCommand)


def type_of(command: type[Command]) -> str:
    return str(command.__struct_config__.tag)


# asyncpg takes the first and the last microsecond that there are for -infinity and infinity.
_INFINITE = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))

COMMAND_TYPES: dict[str, type[Command]] = {
    type_of(command): command for command in get_args(AnyCommand)
}


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text.upper())  # a small z is none of Python's


# Not cached: to look a text up among many takes longer than to read it again.
def parse_time(text: str) -> datetime:
    """An RFC 3339 time as an aware datetime in UTC, cut to microseconds.

    Raises ValueError when there is no such moment.
    """
    try:
        time = _read_time(text)
        if time.tzinfo is not UTC:
            time = time.astimezone(UTC)
    except OverflowError as error:  # 0001-01-01 east of Greenwich, 9999-12-31 west of it
        raise ValueError(f"{text} is outside the years 1 to 9999 in UTC") from error
    if time in _INFINITE:
        raise ValueError(f"{text} stands for infinity in Postgres")
    return time
