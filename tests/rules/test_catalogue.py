"""Records of the catalogue: the entries they define or remove, and that no other passes for one."""

import json
from typing import Any

import pytest

from execstream.streams.catalogue import (
    BlockKey,
    BudgetKey,
    CatalogueKey,
    DefineGraph,
    GraphKey,
    NotInCatalogue,
    decode_catalogue,
)

BLOCK = {"type": "block.define", "block_id": "b", "name": "Block", "block_type": "AI"}
GRAPH = {"type": "graph.define", "graph_id": "g:1", "graph_version": 7, "name": "Graph"}
BUDGET = {"type": "budget.define", "budget_id": "a", "per": "run", "cost": 100}
DEEP = 100_000  # levels, more than any decoder goes down


def told(about: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps(about | fields).encode()


def with_more(about: dict[str, Any], json_value: bytes) -> bytes:
    """`about` with an unknown field."""
    return told(about)[:-1] + b', "more": ' + json_value + b"}"


NO_KEYS: dict[str, bytes | None] = {
    "none": None,
    "empty": b"",
    "of no kind": b"b",
    "of another kind": b"node:b",
    "a block without an id": b"block:",
    "an id with a control character": b"block:\x00",
    "an id that is no UTF-8": b"block:\xff",
    "an id with a space": b"block:a b",
    "an id that is too long": b"block:" + b"b" * 129,
    "a graph without an id": b"graph::1",
    "a graph without a version": b"graph:g",
    "a graph's id with a control character": b"graph:\x00:1",
    "version zero": b"graph:g:0",
    "a negative version": b"graph:g:-1",
    "a version beyond 32 bits": b"graph:g:2147483648",
    "a version beyond all that": b"graph:g:99999999999",
    "a version of 5,000 digits": b"graph:g:" + b"1" * 5_000,
    "a version in digits of elsewhere": "graph:g:\u0661".encode(),
}

NO_VALUES: dict[str, tuple[bytes, bytes]] = {
    "empty": (b"block:b", b""),
    "null": (b"block:b", b"null"),
    "no JSON": (b"block:b", b"{"),
    "no UTF-8": (b"block:b", told(BLOCK).replace(b"Block", b"\xff")),
    "no UTF-8 where nobody looks": (b"block:b", with_more(BLOCK, b'"\xff"')),
    "half a surrogate": (b"block:b", told(BLOCK, name="\ud800")),
    "a byte order mark": (b"block:b", b"\xef\xbb\xbf" + told(BLOCK)),
    "a list": (b"block:b", b"[]"),
    "deep": (b"block:b", with_more(BLOCK, b"[" * DEEP + b"]" * DEEP)),
    "deep without an end": (b"block:b", with_more(BLOCK, b"[" * DEEP)),
    "of an unknown type": (b"block:b", told(BLOCK, type="block.forget")),
    "without a name": (b"block:b", b'{"type": "block.define", "block_id": "b"}'),
    "of an unknown kind": (b"block:b", told(BLOCK, block_type="ODD")),
    "of another block": (b"block:c", told(BLOCK)),
    "of another version": (b"graph:g:1:8", told(GRAPH)),
    "a graph under a block's key": (b"block:g", told(GRAPH)),
    "a version that is no number": (b"graph:g:1:7", told(GRAPH, graph_version="7")),
    "a version beyond 32 bits": (b"graph:g:1:7", told(GRAPH, graph_version=2**31)),
    "a budget without a limit": (b"budget:a", told(BUDGET, cost=0)),
    "a limit with a fraction": (b"budget:a", told(BUDGET, cost=1.5)),
    "a budget of another kind": (b"budget:a", told(BUDGET, per="block_day")),
    "an unknown action": (b"budget:a", told(BUDGET, action="delete")),
    "another budget": (b"budget:b", told(BUDGET)),
    "users of a graph": (b"budget:a", told(BUDGET, per="graph_day", user_id="ada")),
    "graphs of a user": (b"budget:a", told(BUDGET, per="user_day", graph_id="g")),
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_a_null_value_takes_nothing_away_but_what_a_key_names(key: bytes | None) -> None:
    with pytest.raises(NotInCatalogue):
        decode_catalogue(key, None)


@pytest.mark.parametrize(("key", "value"), NO_VALUES.values(), ids=NO_VALUES.keys())
def test_what_defines_nothing_is_told_apart(key: bytes, value: bytes) -> None:
    with pytest.raises(NotInCatalogue):
        decode_catalogue(key, value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (b"block:b", told(BLOCK), BlockKey("b")),
        (b"graph:g:1:7", told(GRAPH), GraphKey("g:1", 7)),
        (b"graph:g:2147483647", None, GraphKey("g", 2**31 - 1)),
        (b"budget:a", told(BUDGET, graph_id="g", user_id="ada"), BudgetKey("a")),
        (b"budget:a", None, BudgetKey("a")),
        (b"block:" + b"b" * 128, None, BlockKey("b" * 128)),
    ],
)
def test_an_entry_is_what_its_key_says(
    key: bytes, value: bytes | None, expected: CatalogueKey
) -> None:
    named, definition = decode_catalogue(key, value)

    assert named == expected
    assert (definition is None) == (value is None)


def test_names_are_cleaned() -> None:
    """Characters that Postgres cannot hold are removed."""
    _, definition = decode_catalogue(b"graph:g:1:7", told(GRAPH, name="a\0b", description="\0c"))

    assert isinstance(definition, DefineGraph)
    assert (definition.name, definition.description) == ("ab", "c")
