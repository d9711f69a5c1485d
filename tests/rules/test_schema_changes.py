"""The gate for changes of schemas: a breaking change fails, and any other passes."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.schema_changes import (
    ACCEPTED,
    RELEASED,
    SENT_TO_US,
    WIDENED,
    breaks,
    breaks_since,
    released_schema,
)
from execstream.cli.schema import CONTRACTS

Change = Callable[[dict[str, Any]], object]
RELEASES = sorted(
    (file.parent.name, file.stem) for file in RELEASED.glob("*/*.json") if file.stem in CONTRACTS
)


def test_released_schemas_are_still_there() -> None:
    """Released schemas are compared for ever."""
    assert {file.stem for file in RELEASED.glob("*/*.json")} <= CONTRACTS.keys()
    assert {version for version, _ in RELEASES} >= {"0.1.0"}
    assert ACCEPTED.keys() <= {*RELEASES}


@pytest.mark.parametrize(("version", "name"), RELEASES)
def test_nothing_breaks_but_what_was_meant(version: str, name: str) -> None:
    assert breaks_since(version, name) == []


@pytest.mark.parametrize(("version", "name"), sorted(ACCEPTED))
def test_what_is_accepted_is_a_break(version: str, name: str) -> None:
    """No reason stays in the list without a break that needs it."""
    released, present = released_schema(version, name), _present(name)
    found = breaks(released, present, sent_to_us=name in SENT_TO_US)
    assert sorted(ACCEPTED[version, name]) == sorted(found)


@pytest.mark.parametrize(("narrow", "wide"), sorted(WIDENED))
def test_a_wider_pattern_is_wider(narrow: str, wide: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.from_regex(re.compile(narrow.replace("$", r"\Z"), re.ASCII)))
    def matches(text: str) -> None:
        assert re.search(wide.replace("$", r"\Z"), text)

    matches()


# ---- planted changes -------------------------------------------------------------------------


def _present(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(CONTRACTS[name].document(name)))
    return document


def _field(kind: str, name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document["$defs"][kind]["properties"][name]


def _set(kind: str, name: str, **words: Any) -> Change:
    return lambda document: _field(kind, name)(document).update(words)


def _without(kind: str, name: str) -> Change:
    return lambda document: document["$defs"][kind]["properties"].pop(name)


def _add(kind: str, name: str, **words: Any) -> Change:
    return lambda document: document["$defs"][kind]["properties"].update({name: words})


def _require(kind: str, name: str) -> Change:
    return lambda document: document["$defs"][kind]["required"].append(name)


def _release(kind: str, name: str) -> Change:
    return lambda document: document["$defs"][kind]["required"].remove(name)


def _drop_option(index: int) -> Change:
    return lambda document: document["oneOf"].pop(index)


def _status(*values: str) -> Change:
    return lambda document: document["$defs"]["ExecutionStatus"].update(enum=list(values))


STATUSES = ["COMPLETED", "FAILED", "INCOMPLETE", "QUEUED", "REVIEW", "RUNNING", "TERMINATED"]
BREAKING: dict[str, tuple[str, Change]] = {
    "a command must have another field": ("command", _require("StartGraph", "reply_to")),
    "a field of a command has another type": (
        "command",
        _set("ShareGraph", "is_shared", type="string"),
    ),
    "a field of a command may be null no more": (
        "command",
        _set("UpdateGraph", "stats", anyOf=[{"type": "object"}]),
    ),
    "a field of a command is not read any more": ("command", _without("CreateGraph", "preset_id")),
    "a form is narrower": ("command", _set("AddNodeInput", "node_id", pattern="^[a-z]{1,64}$")),
    "a pin is shorter": ("command", _set("AddNodeOutput", "output_name", maxLength=256)),
    "fewer steps": ("command", _set("UpdateNodes", "node_exec_ids", maxItems=500)),
    "more steps at least": ("command", _set("UpdateNodes", "node_exec_ids", minItems=2)),
    "fewer pins of a starting node": ("command", _set("StartingNode", "inputs", maxProperties=10)),
    "a starting node must have another field": (
        "command",
        _require("StartingNode", "node_exec_id"),
    ),
    "a type of command is gone": ("command", _drop_option(4)),
    "a status may not be sent any more": ("command", _status(*STATUSES[1:])),
    "no unknown fields any more": (
        "command",
        lambda document: document["$defs"]["StartGraph"].update(additionalProperties=False),
    ),
    "a condition more": (
        "command",
        lambda document: document["$defs"]["DeleteGraph"].update({"if": {}, "then": False}),
    ),
    "an entry of the catalogue must have another field": (
        "catalogue",
        _require("DefineGraph", "description"),
    ),
    "a field of an event is gone": ("event", _without("NodeUpdated", "ended_time")),
    "a field of an event is not always there": ("event", _release("NodeAdded", "added_time")),
    "a field of an event has another type": ("event", _set("GraphCreated", "seq", type="string")),
    "a field of an event may be null": ("event", _set("KvChanged", "key", type=["string", "null"])),
    "an event has another status": ("event", _status(*STATUSES, "PAUSED")),
    "another type of event": (
        "event",
        lambda document: document["oneOf"].append(
            {"type": "object", "properties": {"type": {"enum": ["graph.paused"]}}}
        ),
    ),
    "a place of an event has four parts": (
        "event",
        lambda document: _field("GraphShared", "source")(document)["prefixItems"].append({}),
    ),
    "a field of a message is gone": ("update", _without("NodeUpdate", "queue_time")),
    "a field of a message has another type": (
        "update",
        _set("GraphUpdate", "outputs", type="array"),
    ),
    "values of a message have another type": (
        "update",
        _set("NodeUpdate", "output_data", additionalProperties={"type": "object"}),
    ),
    "a reply has another outcome": (
        "reply",
        lambda document: _field("Reply", "outcome")(document)["enum"].append("late"),
    ),
    "a field of an alert is gone": ("alert", _without("Alert", "title")),
    "totals are fractions": ("block-stats", _set("BlockStats", "cost", type="number")),
    "a number is an object": ("published", lambda document: document.update(type="object")),
}
HARMLESS: dict[str, tuple[str, Change]] = {
    "a new optional field of a command": (
        "command",
        _add("StartGraph", "priority", type="integer"),
    ),
    "a field of a command need not be sent": ("command", _release("StartGraph", "at")),
    "a longer pin": ("command", _set("AddNodeOutput", "output_name", maxLength=1024)),
    "more starting nodes": ("command", _set("CreateGraph", "starting_nodes", maxItems=2000)),
    "another status may be sent": ("command", _status(*STATUSES, "PAUSED")),
    "another type of command": (
        "command",
        lambda document: document["oneOf"].append({"enum": [1]}),
    ),
    "a new field of an event": ("event", _add("NodeUpdated", "attempt", type="integer")),
    "a new field of an event that is always there": (
        "event",
        lambda document: (
            _add("NodeUpdated", "attempt", type="integer")(document),
            _require("NodeUpdated", "attempt")(document),
        ),
    ),
    "a field of an event is always there now": ("event", _require("NodeUpdated", "status")),
    "a type of event comes no more": ("event", _drop_option(3)),
    "a new field of a message": ("update", _add("NodeUpdate", "attempt", type="integer")),
    "another description": ("update", lambda document: document.update(description="…")),
}


@pytest.mark.parametrize("planted", BREAKING)
def test_a_planted_break_is_found(planted: str) -> None:
    name, change = BREAKING[planted]
    changed = _present(name)
    change(changed)
    assert breaks(_present(name), changed, sent_to_us=name in SENT_TO_US) != []


@pytest.mark.parametrize("planted", HARMLESS)
def test_a_harmless_change_passes(planted: str) -> None:
    name, change = HARMLESS[planted]
    changed = _present(name)
    change(changed)
    assert changed != _present(name)
    assert breaks(_present(name), changed, sent_to_us=name in SENT_TO_US) == []
