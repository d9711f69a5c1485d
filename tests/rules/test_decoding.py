"""Decoding from bytes to a command: accepted values; limits; cleaned text; untouched numbers.

Which bad record gets which reason is tested on whole workers, `tests/whole/test_bad_records`.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from execstream import streams
from execstream.streams import commands, decoding
from execstream.streams.commands import (
    COMMAND_TYPES,
    AddNodeOutput,
    CreateGraph,
    SetKeyValue,
    StartGraph,
    UpdateGraph,
)
from execstream.streams.decoding import asks, decode
from execstream.streams.errors import NOT_READABLE
from execstream.streams.forms import forms_in
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, DeadReason, detail_json, wrong_partition
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.wording import MAX_QUOTE
from execstream.workload.reference.reading import DeadError, read
from tests.exploring import exploring
from tests.hostile_commands import records
from tests.orders import Order, Orders, replaced
from tests.strict_decoding import first_difference
from tests.whole.bad_records import DEAD
from tests.whole.understood_records import REFUSED, STRANGE

LIMIT = 8 * 1024 * 1024
FOUND_ELSEWHERE = ("batch_too_large", "wrong_partition")


def command_of(order: Order) -> Any:
    command = decode(order.key, order.value)
    assert not isinstance(command, Dead), command
    return command


@pytest.mark.parametrize("name", DEAD)
def test_bad_records_have_their_reason(name: str) -> None:
    """The same as on the whole, with a detail that fits into a header."""
    reason, make = DEAD[name]
    order = make(Orders())[-1]

    outcome = decode(order.key, order.value)

    if reason in FOUND_ELSEWHERE:
        assert not isinstance(outcome, Dead)
    else:
        assert isinstance(outcome, Dead)
        assert outcome.reason == reason
        assert len(detail_json(outcome.detail)) < 5 * MAX_QUOTE


@pytest.mark.parametrize("name", [*REFUSED, *STRANGE])
def test_what_can_be_understood_is(name: str) -> None:
    """A strange command is understood, whatever the rules decide."""
    make = (REFUSED | STRANGE)[name].make
    for order in make(Orders()):
        command_of(order)


def test_every_type_is_known_by_its_name() -> None:
    """The ten of the contract, each with its key."""
    orders = Orders()
    some = [
        orders.create(),
        orders.start(),
        orders.move("RUNNING"),
        orders.order("graph.share", is_shared=False),
        orders.order("graph.delete"),
        orders.give("n"),
        orders.emit("n"),
        orders.move_step("n", "RUNNING"),
        orders.move_steps("n", "RUNNING"),
        orders.keep(),
    ]

    commands = [command_of(order) for order in some]

    assert [command.type for command in commands] == list(COMMAND_TYPES)
    assert [command.key.encode() for command in commands] == [order.key for order in some]


@pytest.mark.parametrize(
    ("key", "value", "limit", "reason"),
    [
        (b"", b"x" * 11, 10, DeadReason.TOO_LARGE),
        (b"", b"x" * 10, 10, DeadReason.NOT_JSON),
        (b"", b"[" * 129 + b"]" * 129, LIMIT, DeadReason.TOO_DEEP),
        (b"", b"[" * 128 + b"]" * 128, LIMIT, DeadReason.NOT_AN_OBJECT),
        (b"", b'"' + b"[" * 500 + b'"', LIMIT, DeadReason.NOT_AN_OBJECT),
        (b"", b'"\\"' + b"[" * 500 + b'"', LIMIT, DeadReason.NOT_AN_OBJECT),
        (b"", b'"\\\\"' + b"[" * 500, LIMIT, DeadReason.TOO_DEEP),
    ],
)
def test_limits(key: bytes, value: bytes, limit: int, reason: DeadReason) -> None:
    """A value exactly at a limit passes it."""
    outcome = decode(key, value, limit)
    assert isinstance(outcome, Dead)
    assert outcome.reason is reason


def test_payloads_are_kept_as_they_are() -> None:
    """Spaces, digits and order included: they are stored and forwarded without being parsed."""
    orders = Orders()
    raw = b'{ "b": 1.10E+2,  "a": [9007199254740993, 0.1000] }'
    value = (orders.emit("n", data="@").value or b"").replace(b'"@"', raw)

    command = command_of(orders.raw(value))

    assert isinstance(command, AddNodeOutput)
    assert bytes(command.output_data) == raw


def test_text_is_cleaned_everywhere() -> None:
    """Pins, keys, and payloads are cleaned; quoted text in an escape is not."""
    orders = Orders()
    created = command_of(orders.create(orders.node("n", inputs={"a\x00": "b\x07"})))
    kept = command_of(orders.keep("k\x00", "v\x7f"))
    emitted = command_of(orders.emit("n", pin="o\x01", data={"\x02": "\\u0000"}))

    assert isinstance(created, CreateGraph)
    assert isinstance(kept, SetKeyValue)
    (node,) = created.starting_nodes
    assert {pin: bytes(raw) for pin, raw in node.inputs.items()} == {"a": b'"b"'}
    assert (kept.name, bytes(kept.data)) == ("k", b'"v"')
    assert emitted.output_name == "o"
    assert json.loads(bytes(emitted.output_data)) == {"": "\\u0000"}


@pytest.mark.parametrize("stats", [None, {}])
def test_an_empty_object_is_a_value_and_null_is_not(stats: object) -> None:
    """`null` is "not given"."""
    command = command_of(Orders().order("graph.update", stats=stats))
    assert isinstance(command, UpdateGraph)
    assert (command.stats is not UpdateGraph.stats and bool(command.stats)) == (stats is not None)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["graph.update", "RUNNING", "2026-03-01T06:30:00Z", "ada"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
FIELDS = [
    *("type", "id", "at", "user_id", "graph_exec_id", "v", "reply_to", "status", "stats"),
    *("hard", "is_shared", "inputs", "starting_nodes", "graph_version", "execution_data"),
    *("input_name", "output_data", "node_exec_id", "node_exec_ids", "key", "data", "dry_run"),
]
GOOD = [order for case in STRANGE.values() for order in case.make(Orders()) if order.value]
SMALL = [order for order in GOOD if order.value and len(order.value) < 2_000]


@exploring(short=500, long=10_000)
@given(
    st.sampled_from(SMALL),
    st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=2),
    st.sets(st.sampled_from(FIELDS), max_size=1),
)
def test_the_reference_decides_the_same(
    order: Order, changes: dict[str, Any], left_out: set[str]
) -> None:
    """Good commands with some fields replaced or left out: both accept them, or both give the
    same reason."""
    fields = json.loads(order.value or b"") | changes
    value = json.dumps({name: fields[name] for name in fields if name not in left_out}).encode()

    outcome = decode(order.key, value)

    found = outcome.reason if isinstance(outcome, Dead) else None
    assert found == _reason_of_reference(order.key, value), outcome


def _reason_of_reference(key: bytes | None, value: bytes) -> str | None:
    try:
        read(key, value, LIMIT)
    except DeadError as dead:
        return dead.reason
    return None


def test_of_equal_keys_the_last_wins() -> None:
    """At the top of a command as well, whatever the others held."""
    run_id = "01a20c49-f9a6-775c-8b7b-bc9313bd64fb"
    value = (
        b'{"type":"graph.create","type":"graph.start","id":5,"user_id":"a/b","user_id":"ada",'
        b'"at":"2026-03-01T06:30:00Z","graph_exec_id":"' + run_id.encode() + b'",'
        b'"id":"143299a9-2ce9-4788-9ea9-5217b7c0a7ec"}'
    )

    command = decode(run_id.encode(), value)

    assert isinstance(command, StartGraph)
    assert (command.id, command.user_id) == ("143299a9-2ce9-4788-9ea9-5217b7c0a7ec", "ada")


def test_of_equal_keys_of_a_starting_node_the_last_wins() -> None:
    """So does that of equal pins; other values than a list of nodes are ignored where it is not
    read.
    """
    node = b'{"node_id":5,"block_id":"b","inputs":[],"inputs":{"a":1,"a":2},"node_id":"n"}'
    orders = Orders()
    created, started = orders.create(orders.node("n")), orders.start()
    before, _, after = (created.value or b"").partition(b'"starting_nodes":[')
    value = before + b'"starting_nodes":[' + node + after[after.index(b"]") :]
    other = b'{"id":1,"starting_nodes":{},' + (started.value or b"")[1:]

    command = decode(created.key, value)

    assert isinstance(command, CreateGraph)
    assert [(one.node_id, bytes(one.inputs["a"])) for one in command.starting_nodes] == [
        ("n", b"2")
    ]
    assert read(created.key, value, LIMIT)["starting_nodes"][0]["inputs"] == {"a": 2}
    assert isinstance(decode(started.key, other), StartGraph)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda o: o.create(o.node("n", inputs={"": 1})), "$.starting_nodes[0].inputs"),
        (lambda o: o.create({"node_id": "n", "inputs": {}}), "$.starting_nodes[0].block_id"),
        (lambda o: o.order("node.output", node_exec_id=o.named("n")), "$.output_name"),
        (lambda o: o.move("` - at `$.x`"), "$.status"),
        (lambda o: o.order("graph.update", stats=[]), "$.stats"),
        (lambda o: o.create(starting_nodes=5), "$.starting_nodes"),
    ],
)
def test_the_path_of_what_is_invalid(make: Callable[[Orders], Order], path: str) -> None:
    """The path is in the words of the command, also for missing fields and for keys."""
    order = make(Orders())

    dead = decode(order.key, order.value)

    assert isinstance(dead, Dead)
    assert (dead.reason, dead.detail["path"]) == (DeadReason.INVALID_FIELD, path)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"id": "1"}, "Expected a lower-case UUID with hyphens"),
        ({"id": "0" * 40}, "Expected a lower-case UUID with hyphens"),
        ({"user_id": "a b"}, "Expected 1 to 128 of A-Z a-z 0-9 _ . : @ | -"),
        ({"reply_to": "*"}, "Expected 1 to 128 of A-Z a-z 0-9 _ . : @ | -"),
        (
            {"at": "2026-03-01T06:30:00"},
            "Expected an RFC 3339 time with an offset and at most 9 digits of a second's fraction",
        ),
        (
            {"at": "2026-02-30T06:30:00Z"},
            "There is no such time: day is out of range for month",
        ),
        (
            {"type": "graph.share", "is_shared": True, "share_token_hash": "ab"},
            "Expected a SHA-256 as 64 lower-case hex digits",
        ),
        ({"id": None}, "Expected a string, not null"),
        ({"reply_to": 5}, "Expected a string or null, not an integer"),
        ({"stats": []}, "Expected an object"),
        ({"type": "node.output", "output_data": 1}, "This field is missing"),
        (
            {"status": "running"},
            f"Expected one of {', '.join(ExecutionStatus)}, not running",
        ),
        (
            {"type": "node.update_many", "status": "RUNNING", "node_exec_ids": []},
            "Expected at least 1 elements",
        ),
        ({"type": "unheard"}, f"The field type must be one of {', '.join(COMMAND_TYPES)}"),
        ({"v": 2}, "The field v must be 1, or left out"),
    ],
)
def test_the_message_is_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    """Senders read no regular expressions."""
    order = replaced(Orders().order("graph.update", stats={}), **fields)

    dead = decode(order.key, order.value)

    assert isinstance(dead, Dead)
    assert dead.detail["message"] == sentence


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "The record has no value"),
        (b"", "The JSON is incomplete"),
        (b'{"a": 1', "The JSON is incomplete"),
        (
            b'{"a": 1,}',
            "The record is no JSON at byte 8: the comma is followed by no field",
        ),
        (b"{'a': 1}", "The record is no JSON at byte 1: '\"' is missing"),
        (b'{"a": NaN}', "The record is no JSON at byte 6: no value of JSON begins there"),
        (b'{"a": "\xff"}', "The record is no UTF-8 at byte 7"),
        (b"[]", "The record is JSON, but no object"),
    ],
)
def test_the_sentence_about_what_is_no_object(value: bytes | None, sentence: str) -> None:
    """With the byte at which reading ends."""
    dead = decode(b"k", value)
    assert isinstance(dead, Dead)
    assert dead.detail["message"] == sentence


_WORDS_OF_LIBRARIES = re.compile(r"`|regex|codec|malformed|Error|enum")


@pytest.mark.parametrize("name", DEAD)
def test_every_message_is_a_sentence(name: str) -> None:
    """Every bad record has a message in our words, which may repeat the sender's text."""
    order = DEAD[name].make(Orders())[-1]
    dead = decode(order.key, order.value)
    if DEAD[name].expected in FOUND_ELSEWHERE:
        dead = wrong_partition(1, 2)
    assert isinstance(dead, Dead)
    must_be_a_sentence(dead.detail["message"])


@pytest.mark.parametrize("size", [None, LIMIT + 1])
def test_a_value_that_was_omitted_has_a_sentence(size: int | None) -> None:
    dead = decode(b"k", OmittedValue(size, 2 * LIMIT))
    assert isinstance(dead, Dead)
    must_be_a_sentence(dead.detail["message"])


def must_be_a_sentence(message: str) -> None:
    own = message.partition(", not ")[0]
    assert own[0].isupper()
    assert " " in own
    assert not _WORDS_OF_LIBRARIES.search(own), message


@pytest.mark.parametrize(
    ("sent", "microsecond"),
    [
        ("2026-03-01T06:30:00.1Z", 100_000),
        ("2026-03-01T06:30:00.123456Z", 123_456),
        ("2026-03-01T06:30:00.1234567Z", 123_456),
        ("2026-03-01T06:30:00.123456789Z", 123_456),
        ("2026-03-01T08:30:00.999999999+02:00", 999_999),
    ],
)
def test_times_are_cut_to_microseconds(sent: str, microsecond: int) -> None:
    """Fractions of 1 to 9 digits are cut, never rounded up, and the same in the reference."""
    order = Orders().order("graph.update", stats={}, at=sent)
    expected = datetime(2026, 3, 1, 6, 30, 0, microsecond, UTC)

    assert command_of(order).time == expected
    assert read(order.key, order.value, LIMIT)["at"] == expected


@pytest.mark.parametrize(
    "sent",
    [
        "2026-03-01T06:30:00.Z",
        "2026-03-01T06:30:00.1234567890Z",
        "2026-03-01T06:30:00.١Z",
        "2026-03-01T06:30:00Z\n",
        "2026-02-29T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "0001-01-01T00:00:00.000000999Z",
    ],
)
def test_what_is_no_time(sent: str) -> None:
    """Fractions without digits or with ten of them are refused, and times that are cut to Postgres'
    infinity.
    """
    order = Orders().order("graph.update", stats={}, at=sent)

    dead = decode(order.key, order.value)

    assert isinstance(dead, Dead)
    assert (dead.reason, dead.detail["path"]) == (DeadReason.INVALID_FIELD, "$.at")
    assert _reason_of_reference(order.key, order.value or b"") == "invalid_field"


@pytest.mark.parametrize("name", DEAD)
def test_who_asks_is_read_of_what_is_dead(name: str) -> None:
    """They are read wherever a command's id and `reply_to` are readable; nowhere else."""
    reason, make = DEAD[name]
    order = make(Orders())[-1]
    fields = _fields(order.value)
    dead = Dead(DeadReason(reason))
    if fields is None or reason in ("too_large", "too_deep", "not_json", "not_an_object"):
        assert asks(order.value, dead) is None
        return

    fields |= {"reply_to": Raw(b'"me"'), "id": Raw(b'"143299a9-2ce9-4788-9ea9-5217b7c0a7ec"')}
    asked = asks(msgspec.json.encode(fields), dead)
    assert asked == ("me", "143299a9-2ce9-4788-9ea9-5217b7c0a7ec")
    for field, wrong in (("id", b"5"), ("id", b'"x"'), ("reply_to", b"null"), ("reply_to", b'"*"')):
        assert asks(msgspec.json.encode(fields | {field: Raw(wrong)}), dead) is None


def _fields(value: bytes | None) -> dict[str, Raw] | None:
    try:
        return msgspec.json.decode(value or b"", type=dict[str, Raw])
    except NOT_READABLE:
        return None


def test_the_cheap_checks_change_nothing() -> None:
    """Hostile and real records; `tests/attacks/test_cheap_checks` has a million."""
    assert first_difference(records(seed=1, count=20_000)) is None


def test_most_commands_need_no_strict_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands with lists of texts with a form, and with a hash, need it."""
    with_lists = {"graph.create", "graph.share", "node.update_many"}
    orders = Orders()
    some = [orders.start(), orders.move("RUNNING"), orders.order("graph.delete"), orders.give("n")]
    some += [orders.emit("n"), orders.move_step("n", "RUNNING"), orders.keep()]
    monkeypatch.delattr(decoding, "_strict")

    types = {command_of(order).type for order in some}

    assert types == set(COMMAND_TYPES) - with_lists


def test_a_form_that_is_only_noted_is_enforced() -> None:
    """Structs have the types that note forms where a decoder of commands checks them, and only
    there: elsewhere msgspec would take any text for an id."""
    for module in pkgutil.walk_packages(streams.__path__, f"{streams.__name__}."):
        importlib.import_module(module.name)

    noting = {
        one.__module__
        for one in _subclasses(Struct)
        if one.__module__.startswith(streams.__name__) and any(forms_in(one))
    }

    assert noting == {commands.__name__, decoding.__name__}


def _subclasses(kind: type[Struct]) -> Iterator[type[Struct]]:
    one: type[Struct]
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)
