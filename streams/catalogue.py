"""Catalogue entries: names of blocks and graphs, and budgets (`execution.catalogue.v1`).

Keys are `block:<block_id>`, `graph:<graph_id>:<version>` and `budget:<budget_id>`; a null value
takes an entry away.
"""

import re
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from execstream.streams.commands import NAME, Version
from execstream.streams.errors import NOT_READABLE
from execstream.streams.text import clean_text
from execstream.streams.totals.budgets import Action, Per

Name = Annotated[str, Meta(pattern=NAME)]
Cents = Annotated[int, Meta(ge=1, le=2**53)]
BlockType = Literal[
    "STANDARD",
    "INPUT",
    "OUTPUT",
    "NOTE",
    "WEBHOOK",
    "WEBHOOK_MANUAL",
    "AGENT",
    "AI",
    "AYRSHARE",
    "HUMAN_IN_THE_LOOP",
    "MCP_TOOL",
]


class DefineBlock(Struct, tag_field="type", tag="block.define", kw_only=True):
    block_id: Name
    name: str
    block_type: BlockType


class DefineGraph(Struct, tag_field="type", tag="graph.define", kw_only=True):
    graph_id: Name
    graph_version: Version
    name: str
    description: str | None = None


class DefineBudget(Struct, tag_field="type", tag="budget.define", kw_only=True):
    budget_id: Name
    per: Per
    cost: Cents
    action: Action = Action.ALERT
    graph_id: Name | None = None
    user_id: Name | None = None


class BlockKey(NamedTuple):
    id: str


class GraphKey(NamedTuple):
    id: str
    version: int


class BudgetKey(NamedTuple):
    id: str


Definition = DefineBlock | DefineGraph | DefineBudget
CatalogueKey = BlockKey | GraphKey | BudgetKey

# Of a user's spending no graph is known, nor of a graph's its users.
_UNKNOWN = {Per.USER_DAY: "graph_id", Per.GRAPH_DAY: "user_id"}

_decode = msgspec.json.Decoder(Definition).decode
_DIGITS = re.compile(r"[0-9]{1,10}")  # as many as the greatest version has


class NotInCatalogue(ValueError):
    """A record that defines nothing, or another entry than its key names."""


def decode_catalogue(
    key: bytes | None, value: bytes | None
) -> tuple[CatalogueKey, Definition | None]:
    """Return the entry that a record names and its definition; None: the entry is removed."""
    named = _decode_key(key)
    if value is None:
        return named, None
    try:
        value.decode()
        definition = _decode(value)
    except NOT_READABLE as error:
        raise NotInCatalogue(str(error)) from error
    if named != key_of(definition):
        raise NotInCatalogue(f"The key says {named}, the value {key_of(definition)}")
    return named, _checked(definition)


def _checked(definition: Definition) -> Definition:
    """Clean the texts, and reject a budget that could never be judged."""
    if isinstance(definition, DefineBudget):
        unknown = _UNKNOWN.get(definition.per)
        if unknown is not None and getattr(definition, unknown) is not None:
            raise NotInCatalogue(f"A budget per {definition.per} has no {unknown}")
        return definition
    definition.name = clean_text(definition.name)
    if isinstance(definition, DefineGraph) and definition.description is not None:
        definition.description = clean_text(definition.description)
    return definition


def budget_record(budget_id: str, definition: DefineBudget | None) -> tuple[bytes, bytes | None]:
    """Return key and value of the record that defines a budget, or removes it. Raises
    NotInCatalogue for one that workers would step over.
    """
    key = f"budget:{budget_id}".encode()
    value = None if definition is None else msgspec.json.encode(definition)
    decode_catalogue(key, value)
    return key, value


def key_of(definition: Definition) -> CatalogueKey:
    """The entry that `definition` is about."""
    if isinstance(definition, DefineBlock):
        return BlockKey(definition.block_id)
    if isinstance(definition, DefineBudget):
        return BudgetKey(definition.budget_id)
    return GraphKey(definition.graph_id, definition.graph_version)


def _decode_key(key: bytes | None) -> CatalogueKey:
    """Decode a key. For a null value the key alone names the entry, so it is validated as fields
    are.
    """
    kind, _, rest = (key or b"").decode(errors="replace").partition(":")
    graph_id, _, version = rest.rpartition(":")
    try:
        if kind == "block":
            return BlockKey(msgspec.convert(rest, Name))
        if kind == "budget":
            return BudgetKey(msgspec.convert(rest, Name))
        if kind == "graph" and _DIGITS.fullmatch(version):
            graph_id = msgspec.convert(graph_id, Name)
            return GraphKey(graph_id, msgspec.convert(int(version), Version))
    except msgspec.ValidationError as error:
        raise NotInCatalogue(f"The key {key!r} names nothing: {error}") from error
    raise NotInCatalogue(
        f"The key {key!r} is none of block:<id>, graph:<id>:<version>, budget:<id>"
    )
