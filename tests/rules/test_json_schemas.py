"""JSON Schemas of commands and events agree with the code."""

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from execstream.cli.schema import CONTRACTS
from execstream.streams.commands import COMMAND_TYPES
from execstream.streams.decoding import decode
from execstream.streams.events import Event
from execstream.streams.journal import EntryType
from execstream.streams.json_schemas import _ANY, EVENT_FIELDS
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Quarantined,
    QuarantineReason,
    Refusal,
    Refused,
    reply,
)
from tests.contract_validation import is_valid, validator
from tests.hostile_commands import POOLS
from tests.orders import Orders, encoded
from tests.whole.bad_records import DEAD, UNKNOWN
from tests.whole.understood_records import REFUSED, STRANGE

# Dead letters that no JSON Schema can tell, by their reason.
UNTOLD_REASONS = {
    "too_large": "a schema counts no bytes",
    "too_deep": "a schema counts no levels",
    "key_mismatch": "the key is no part of the value",
    "wrong_partition": "the partition is no part of the value",
    "not_storable": "a schema does not tell how many digits a number has",
}
# Others, by their name.
UNTOLD = {
    "30 February": "a pattern knows no calendar",
    "the year 0": "a pattern knows no calendar",
    "before the year 1": "the offset decides",
    "after the year 9999": "the offset decides",
    "2,001 entries": "a schema adds nothing up",
    "1,000,001 values": "a schema adds nothing up",
    "1,000,001 lists, one in the other or beside it": "a schema adds nothing up",
    "500,001 names": "a schema adds nothing up",
    "stats of more than 4 MiB over all steps": "a schema counts no bytes",
}
# It exceeds the same bound as `a node of 1,001 pins`, in 25 seconds.
TOO_SLOW = {"800,000 pins"}
TOLD = [
    name
    for name, case in DEAD.items()
    if case.expected not in UNTOLD_REASONS and name not in {*UNTOLD, *TOO_SLOW}
]


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_schema_is_one(name: str) -> None:
    """It is valid itself, and every reference in it leads somewhere."""
    document = CONTRACTS[name].document(name)
    Draft202012Validator.check_schema(json.loads(json.dumps(document)))
    assert _references(document) <= {f"#/$defs/{part}" for part in document.get("$defs", {})}


def _references(part: Any) -> set[str]:
    if isinstance(part, list):
        return {found for one in part for found in _references(one)}
    if not isinstance(part, dict):
        return set()
    own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
    return own.union(*(_references(one) for one in part.values()))


# ---- commands --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOLD)
def test_a_dead_letter_is_not_valid(name: str) -> None:
    value = DEAD[name].make(Orders())[-1].value
    assert not is_valid("command", value)


@pytest.mark.parametrize("name", UNTOLD)
def test_what_a_schema_cannot_tell_is_valid(name: str) -> None:
    """No name stays in the list once a schema tells it."""
    assert is_valid("command", DEAD[name].make(Orders())[-1].value)


@pytest.mark.parametrize("name", [*REFUSED, *STRANGE])
def test_what_is_understood_is_valid(name: str) -> None:
    """Refusals are no matter of form."""
    orders = (REFUSED | STRANGE)[name].make(Orders())
    understood = [one for one in orders if not isinstance(decode(one.key, one.value), Dead)]
    assert orders[-1] in understood
    assert all(is_valid("command", one.value) for one in understood)


def examples() -> dict[str, dict[str, Any]]:
    """One command of each type, with all fields that it may have."""
    o = Orders()
    node = o.node("n", inputs={"in": 1})
    found = [
        o.create(
            node,
            inputs={"a": 1},
            credential_inputs={},
            nodes_input_masks={},
            preset_id="preset",
            parent_graph_exec_id=UNKNOWN,
            dry_run=True,
        ),
        o.start(),
        o.move("RUNNING", stats={"cost": 1}),
        o.order("graph.share", is_shared=True, share_token_hash="0" * 64),
        o.order("graph.delete", hard=True),
        o.give("n", node_exec_id=UNKNOWN),
        o.emit("n"),
        o.move_step("n", "QUEUED", stats={}),
        o.move_steps(["n", "m"], "RUNNING", stats={}),
        o.keep(),
    ]
    commands = [json.loads(one.value or b"") | {"reply_to": "me", "v": 1} for one in found]
    return {command["type"]: command for command in commands}


def mutations(command: dict[str, Any]) -> Iterator[bytes]:
    """The command without each of its fields, and with each of them replaced by every value; and so
    with the fields of its starting node."""
    yield from _mutated(command)
    if "starting_nodes" in command:
        others = encoded({**command, "starting_nodes": ["@"]})
        for node in _mutated(command["starting_nodes"][0]):
            yield others.replace(b'"@"', node)


def _mutated(fields: dict[str, Any]) -> Iterator[bytes]:
    for name in fields:
        others = encoded({other: value for other, value in fields.items() if other != name})
        yield others
        for value in (value for pool in POOLS for value in pool):
            yield others[:-1] + b"," + json.dumps(name).encode() + b":" + value + b"}"


def test_single_mutations() -> None:
    """Of those that become dead letters for a field, at least 95 % are invalid; whatever is
    understood is valid."""
    found = examples()
    assert found.keys() == COMMAND_TYPES.keys()
    told, untold = 0, Counter[str]()
    for type_, command in found.items():
        sample = list(mutations(command))
        for value in Random(type_).sample(sample, 250):
            dead = decode(_key_of(command), value)
            if not isinstance(dead, Dead):
                assert is_valid("command", value), value
            elif dead.reason in ("invalid_field", "unknown_type", "unsupported_version"):
                if is_valid("command", value):
                    untold[str(dead.detail.get("path"))] += 1
                else:
                    told += 1
    assert told > 1_200
    assert untold.total() <= 0.05 * (told + untold.total()), untold
    assert untold.keys() <= {"$.at", "$.graph_version", "$.v"}  # moments, and 1.0 for 1


def _key_of(command: dict[str, Any]) -> bytes:
    return str(command.get("graph_exec_id", command["user_id"])).encode()


@pytest.mark.parametrize("type_", COMMAND_TYPES)
def test_unknown_fields_are_allowed(type_: str) -> None:
    assert is_valid("command", encoded(examples()[type_] | {"of_a_newer_version": 1}))


# ---- events, replies -------------------------------------------------------------------------


def test_every_field_of_events_belongs_to_a_type() -> None:
    """The table of fields has the types and the fields that there are."""
    assert EVENT_FIELDS.keys() == {*EntryType, "kv.changed", "command.refused"}
    fields = {name for own in (*EVENT_FIELDS.values(), _ANY) for name in " ".join(own).split()}
    assert fields == set(Event.__struct_fields__)


@pytest.mark.parametrize(
    "outcome",
    [
        Applied(),
        Applied(1, 2, node_exec_id="n"),
        Applied(1, 1, updated=1, skipped={"n": None}),
        Duplicate(Applied(1, 1)),
        *(Refused(reason) for reason in Refusal),
        *(Dead(reason, {"message": "…"}) for reason in DeadReason),
        *(Quarantined(reason) for reason in QuarantineReason),
    ],
    ids=str,
)
def test_a_reply_is_valid(outcome: Outcome) -> None:
    message = json.loads(json.dumps(reply("c", outcome)))
    assert list(validator("reply").iter_errors(message)) == []
    assert message.keys() <= validator("reply").schema["$defs"]["Reply"]["properties"].keys()
