"""The page for producers: its rules, examples and tables are those of the decoder."""

import json
import re
from typing import Any

import msgspec
import pytest

from docs.generate import DOCS
from execstream.streams import decoding, storable_numbers
from execstream.streams.commands import COMMAND_TYPES, Command, StartingNode
from execstream.streams.decoding import decode
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.partitions import partition_of
from execstream.streams.redriving import named_key
from tests.orders import Order, Orders, replaced

PAGE = (DOCS / "producing.md").read_text(encoding="utf-8")
RULES = dict(re.findall(r"^\| `(\w+)` \| ([A-Z`].*) \|$", PAGE, re.MULTILINE))
EXAMPLES = re.findall(r'^```json title="(\w+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
# These take megabytes, a batch, or a run.
NO_EXAMPLE = {
    DeadReason.TOO_LARGE,
    DeadReason.BATCH_TOO_LARGE,
    DeadReason.TOO_DEEP,
    DeadReason.WRONG_PARTITION,
    DeadReason.QUARANTINED,
    DeadReason.RUN_QUARANTINED,
}
TIMES = re.findall(r"^\| `(\d{4}-[^`]*)` \| (taken|refused)", PAGE, re.MULTILINE)
KEYS = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
FIELDS = re.findall(r"^\| (every command|`[\w.]+`) \| `(\w+)`(\??) \| (.+) \|$", PAGE, re.MULTILINE)


def test_every_reason_has_its_rule() -> None:
    """Each reason has one, in the order in which records are judged."""
    last = (
        *(DeadReason.NOT_STORABLE, DeadReason.WRONG_PARTITION),
        *(DeadReason.QUARANTINED, DeadReason.RUN_QUARANTINED),
    )
    assert list(RULES) == [*(one for one in DeadReason if one not in last), *last]


def test_every_reason_has_an_example() -> None:
    """Each but those that do not fit on a line."""
    assert {reason for reason, _ in EXAMPLES} == set(DeadReason) - NO_EXAMPLE


@pytest.mark.parametrize(("reason", "record"), EXAMPLES)
def test_an_example_is_a_dead_letter_of_its_reason(reason: str, record: str) -> None:
    value = record.encode()
    key = b"another" if reason == DeadReason.KEY_MISMATCH else named_key(value)
    dead = decode(key, value)
    assert isinstance(dead, Dead)
    assert dead.reason == reason


def test_limits_are_those_of_the_decoder() -> None:
    """The numbers in the rules are constants of the code."""
    for limit in (
        decoding.MAX_COMMAND_BYTES,
        decoding.MAX_DEPTH,
        storable_numbers.MAX_DIGITS,
        storable_numbers.MAX_FRACTION_DIGITS,
        storable_numbers.FREE_EXPONENTS,
    ):
        assert f"{limit:,} " in " ".join(RULES.values())
    assert storable_numbers.EXPONENTS_PER_BYTE == 4


@pytest.mark.parametrize(("at", "verdict"), TIMES)
def test_times(at: str, verdict: str) -> None:
    """A time is accepted or refused as its row has it."""
    order = replaced(Orders().start(), at=at)
    dead = decode(order.key, order.value)
    assert isinstance(dead, Dead) == (verdict == "refused")


def test_keys_have_the_partitions_of_their_rows() -> None:
    assert len(KEYS) >= 3
    for key, of_8, of_16 in KEYS:
        assert (partition_of(key.encode(), 8), partition_of(key.encode(), 16)) == (
            *(int(of_8), int(of_16)),
        )


# ---- fields ----------------------------------------------------------------------------------

_VALUES: dict[str, Any] = {
    "SHA-256 as 64 lower-case hex digits": "0" * 64,
    "UUID": "0198c8f0-0000-7000-8000-000000000001",
    "any JSON": [1],
    "id": "n",
    "list of 1 to 1,000 UUIDs": ["0198c8f0-0000-7000-8000-000000000001"],
    "list, which may be empty": [],
    "object": {"a": 1},
    "object of up to 16 ids with strings of up to 256 characters": {"a": "b"},
    "one of those below": "",
    "pin": "p",
    "status": "RUNNING",
    "string of up to 512 characters": "k",
    "time": "2026-03-01T06:30:00Z",
    "true or false": False,
    "1": 1,
}


def rows_of(type_: str) -> dict[str, tuple[bool, Any]]:
    """By field of a type: whether it is optional, and a value of its form."""
    return {
        name: (mark == "?", _VALUES.get(form, 1))
        for owner, name, mark, form in FIELDS
        if owner in ("every command", f"`{type_}`")
    }


def order_of(type_: str, fields: dict[str, Any]) -> Order:
    key = fields.get("user_id" if type_ == "kv.set" else "graph_exec_id")
    return Order(str(key).encode(), json.dumps(fields | {"type": type_}).encode())


@pytest.mark.parametrize("type_", COMMAND_TYPES)
def test_the_rows_of_a_type_are_its_fields(type_: str) -> None:
    """A command made of the rows is taken, with and without optional fields; without one of the
    others it is not.
    """
    rows = rows_of(type_)
    fields = {one.encode_name for one in msgspec.structs.fields(COMMAND_TYPES[type_])}
    assert rows.keys() == fields | {"type"}
    whole = {name: value for name, (_, value) in rows.items()}
    assert isinstance(decode(*order_of(type_, whole)[:2]), Command)
    for name, (is_optional, _) in rows.items():
        if name == "type":
            continue
        without = {other: value for other, value in whole.items() if other != name}
        judged = decode(*order_of(type_, without)[:2])
        assert isinstance(judged, Command) == is_optional, name
        if is_optional:
            assert isinstance(decode(*order_of(type_, whole | {name: None})[:2]), Command), name


def test_starting_nodes_have_rows() -> None:
    """Their fields are in the table too."""
    named = re.findall(r"^\| one of `starting_nodes` \| `(\w+)`", PAGE, re.MULTILINE)
    assert named == [one.encode_name for one in msgspec.structs.fields(StartingNode)]
