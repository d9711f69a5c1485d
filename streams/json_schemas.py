"""JSON Schemas (2020-12) of commands, events and catalogue entries, made from their types.

Rules that are not in the types are added: the forms of texts, the bounds of growth, and the fields
of each event. Unknown fields are allowed everywhere, as decoders ignore them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from execstream.streams.attributes import Attributes
from execstream.streams.catalogue import Definition
from execstream.streams.commands import (
    COMMAND_TYPES,
    TIME,
    UUID,
    AnyCommand,
    CreateGraph,
    Document,
    Pin,
    ShareGraph,
    type_of,
)
from execstream.streams.decoding import VERSION
from execstream.streams.events import Event, SourceOffset
from execstream.streams.forms import enforcing
from execstream.streams.growth import MAX_PINS, MAX_STARTING_NODES
from execstream.streams.imported import Imported
from execstream.streams.outcomes import DeadReason, QuarantineReason, Refusal
from execstream.streams.totals.aggregation import Totals

Schema = dict[str, Any]

DEFINITIONS = "#/$defs/"
_FORMATS = {UUID: "uuid", TIME: "date-time"}
# The least of a pin: one character that is not removed before storing.
_SOMETHING_LEFT = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_PIN = Annotated[Pin, Meta(pattern=_SOMETHING_LEFT)]
_OBJECT = dict[str, Raw]
# The types that are described instead of wider ones, which keep bytes.
_MOMENTS: Mapping[Any, Any] = {datetime: Annotated[datetime, Meta(tz=True)]}
_NARROWED = {
    **_MOMENTS,
    Document: _OBJECT | None | UnsetType,
    Pin: _PIN,
    dict[Pin, Raw]: Annotated[dict[_PIN, Raw], Meta(max_length=MAX_PINS)],
    Raw | None: _OBJECT | None,
    Raw | dict[str, Raw]: _OBJECT,
}


class Described(NamedTuple):
    """The schema of a message, and those that it refers to, by name."""

    root: Schema
    definitions: dict[str, Schema]

    def document(self, name: str, meaning: str) -> Schema:
        """Return it as a JSON Schema by itself."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:execstream:{name}",
            "title": name,
            "description": meaning,
            **self.root,
            **({"$defs": self.definitions} if self.definitions else {}),
        }

    def under(self, place: str) -> "Described":
        """Return it with its definitions at `place` of another document, such as `#/$defs/`."""
        return Described(*_moved([self.root, self.definitions], place))


def describe(kind: Any, narrowed: Mapping[Any, Any] = _NARROWED) -> Described:
    """Make the schema of a type of msgspec's; `narrowed`: types to describe instead of others."""
    described = enforcing(kind, narrowed)
    [root], definitions = msgspec.json.schema_components(
        [described], ref_template=DEFINITIONS + "{name}"
    )
    return Described(*_portable([root, definitions]))


def command_schema() -> Described:
    """Describe the values of `execution.commands.v1` that are no dead letters by their content.

    It leaves out the key, depth, bytes, entries and values in all, the size of numbers, and the
    days of a month.
    """
    schema = describe(AnyCommand)
    attributes = {"anyOf": [describe(Attributes).root, {"type": "null"}]}
    schema.definitions[CreateGraph.__name__]["properties"]["attributes"] = attributes
    for command in COMMAND_TYPES.values():
        version = {"anyOf": [{"type": "integer", "const": VERSION}, {"type": "null"}]}
        schema.definitions[command.__name__]["properties"]["v"] = version
    nodes = schema.definitions[CreateGraph.__name__]["properties"]["starting_nodes"]
    nodes["maxItems"] = MAX_STARTING_NODES
    schema.definitions[ShareGraph.__name__] |= {
        "if": {"properties": {"is_shared": {"const": True}}},
        "then": {
            "properties": {"share_token_hash": {"type": "string"}},
            "required": ["share_token_hash"],
        },
    }
    return schema


def command_definitions() -> Mapping[str, str]:
    """Return the name of the definition of each type of command."""
    return {type_of(command): command.__name__ for command in COMMAND_TYPES.values()}


def catalogue_schema() -> Described:
    """Describe the values of `execution.catalogue.v1` that are not null."""
    return describe(Definition)


# ---- events ----------------------------------------------------------------------------------


class _Fields(NamedTuple):
    """Fields of an event, with spaces between; those that are always there, and the others."""

    always: str
    sometimes: str = ""


_RUN = "seq graph_exec_id graph_id graph_version user_id"
_STEP = f"{_RUN} node_exec_id node_id block_id"
_ANY = _Fields("type at command_id source", "truncated")
_MARKS = "dry_run skewed imported"
_TIMES = "queued_time started_time ended_time"
EVENT_FIELDS: Mapping[str, _Fields] = {
    "graph.created": _Fields(
        f"{_RUN} status",
        f"{_MARKS} inputs credential_inputs nodes_input_masks preset_id parent_graph_exec_id"
        " attributes",
    ),
    "graph.updated": _Fields(f"{_RUN} started_at ended_at", f"{_MARKS} was status stats"),
    "graph.shared": _Fields(f"{_RUN} is_shared shared_at", _MARKS),
    "graph.deleted": _Fields(f"{_RUN} hard", _MARKS),
    "node.added": _Fields(f"{_STEP} added_time status", f"{_MARKS} {_TIMES} stats execution_data"),
    "node.input_added": _Fields(f"{_STEP} name data", _MARKS),
    "node.output_added": _Fields(f"{_STEP} name data", _MARKS),
    "node.updated": _Fields(
        f"{_STEP} added_time", f"{_MARKS} {_TIMES} was status stats execution_data"
    ),
    "kv.changed": _Fields("user_id key data node_exec_id"),
    "command.refused": _Fields("user_id command_type reason detail", "graph_exec_id"),
}
_DOCUMENTS = (
    *("stats", "execution_data", "detail"),
    *("inputs", "credential_inputs", "nodes_input_masks"),
)


def any_event_schema() -> Described:
    """Describe events of all types as one, with the fields of all."""
    schema = describe(Event, _MOMENTS)
    fields = schema.definitions[Event.__name__]["properties"]
    fields |= {name: {"type": "object"} for name in _DOCUMENTS}
    fields["attributes"] = {"type": "object", "additionalProperties": {"type": "string"}}
    return schema


def event_schema() -> Described:
    """Describe the values of `execution.events.v1`: each type with the fields that it has."""
    definitions = dict(any_event_schema().definitions)
    known = definitions.pop(Event.__name__)["properties"]
    known["reason"] = {"enum": sorted(map(str, Refusal))}
    known["command_type"] = {"enum": sorted(COMMAND_TYPES)}
    known["imported"] = {"enum": sorted(map(str, Imported))}
    events = {definition_of(type_): _event(type_, known) for type_ in EVENT_FIELDS}
    root = {"oneOf": [{"$ref": DEFINITIONS + name} for name in events]}
    return Described(root, events | definitions)


def definition_of(event_type: str) -> str:
    """Return the name of the definition of a type of event: NodeInputAdded of node.input_added."""
    return event_type.replace(".", " ").replace("_", " ").title().replace(" ", "")


def _event(type_: str, known: Mapping[str, Schema]) -> Schema:
    fields = EVENT_FIELDS[type_]
    always = f"{_ANY.always} {fields.always}".split()
    names = always + f"{fields.sometimes} {_ANY.sometimes}".split()
    return {
        "title": definition_of(type_),
        "type": "object",
        "properties": {name: known[name] for name in names} | {"type": {"enum": [type_]}},
        "required": always,
    }


# ---- block stats, replies --------------------------------------------------------------------


def block_stats_schema() -> Described:
    """Describe the values of `execution.block-stats.v1` that are not null."""
    counts = get_type_hints(Totals)
    kind = msgspec.defstruct(
        "BlockStats",
        [
            ("block_id", str),
            ("source_partition", int),
            ("position", SourceOffset),
            *((name, counts[name]) for name in Totals.__struct_fields__),
            ("minutes", list[tuple[datetime, int, int]]),
        ],
    )
    return describe(kind)


class Reply(Struct):
    """The outcome of a command, on the channel that it named."""

    command_id: str
    outcome: Literal["applied", "duplicate", "refused", "dead", "quarantined"]
    reason: str | UnsetType = UNSET
    detail: _OBJECT | UnsetType = UNSET
    seq: tuple[int, int] | UnsetType = UNSET
    node_exec_id: str | UnsetType = UNSET
    updated: int | UnsetType = UNSET


def reply_schema() -> Described:
    """Describe the messages of the channels `execution_reply/…`."""
    schema = describe(Reply)
    reasons = {*Refusal, *DeadReason, *QuarantineReason}
    schema.definitions[Reply.__name__]["properties"]["reason"] = {"enum": sorted(map(str, reasons))}
    return schema


# ---- one dialect for all readers -------------------------------------------------------------


def _portable(schema: Any) -> Any:
    r"""Write it so that validators of any language and generators of clients understand it.

    Patterns end with `$`: `\Z` is Python's alone. `items: false` of tuples repeats
    `maxItems`. `discriminator` is a word of OpenAPI. Generators take a field with a `default` for
    one that is always there.
    """
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: _portable(one)
        for name, one in schema.items()
        if (name, one) != ("items", False) and name not in ("discriminator", "default")
    }
    if "discriminator" in schema and "anyOf" in found:
        found = {"oneOf": found.pop("anyOf"), **found}
    pattern = found.get("pattern")
    if isinstance(pattern, str):
        form = {"format": _FORMATS[pattern]} if pattern in _FORMATS else {}
        found |= {"pattern": pattern.replace(r"\Z", "$"), **form}
    return found


def _moved(schema: Any, place: str) -> Any:
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: place + one.removeprefix(DEFINITIONS) if name == "$ref" else _moved(one, place)
        for name, one in schema.items()
    }
