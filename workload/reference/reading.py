"""Decoding: from bytes to a command, or to the reason why the record is a dead letter.

Follows `docs/contract.md`, section 2, in the order of the reasons there.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from execstream.streams.omitted import OmittedValue
from execstream.streams.statuses import ExecutionStatus
from execstream.workload.reference.exact_reading import Json, Number, Object, read_json

Command = dict[str, Json]


MAX_LEVELS = 128

_STRING_IN_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_CONTROL = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9_.:@|-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOUR_AND_MINUTE = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt]{_HOUR_AND_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,9}})?"
    rf"(?:[Zz]|[+-]{_HOUR_AND_MINUTE})"
)
_TIME_FIELDS = frozenset(
    {
        "at",
        "started_at",
        "ended_at",
        "shared_at",
        "added_time",
        "queued_time",
        "started_time",
        "ended_time",
    }
)


class DeadError(Exception):
    """The record cannot be understood or stored."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} {detail}".strip())
        self.reason = reason
        self.detail = detail


def read(key: bytes | None, value: bytes | None, max_bytes: int) -> Command:
    """The command of a record: nulls left out, text cleaned, `at` a `datetime` in UTC."""
    if isinstance(value, OmittedValue):
        raise DeadError("batch_too_large" if value.size is None else "too_large")
    value = value or b""
    if len(value) > max_bytes:
        raise DeadError("too_large", f"{len(value)} bytes")
    if levels(value) > MAX_LEVELS:
        raise DeadError("too_deep")
    try:
        command = read_json(value)
    except ValueError as wrong:
        raise DeadError("not_json", str(wrong)) from wrong
    if not isinstance(command, dict):
        raise DeadError("not_an_object")
    sent, command = command, _validated(command)
    _must_not_have_many_values(value)
    _must_not_repeat_much(command, value)
    if key != key_of(command).encode():
        raise DeadError("key_mismatch")
    _must_be_storable(sent, len(value))
    return command


def read_event(value: bytes) -> dict[str, Json]:
    """A published event in the form of `Reference.events`: times read, nulls left out."""
    event = read_json(value)
    for name in _TIME_FIELDS & event.keys():
        event[name] = event[name] and datetime.fromisoformat(event[name])
    return without_nulls(event)


def without_nulls(fields: dict[str, Json]) -> dict[str, Json]:
    """Drop absent fields: null (except for `data`, where it is a value) and `dry_run: false`."""
    return {
        name: value
        for name, value in fields.items()
        if (value is not None or name == "data") and not (name == "dry_run" and not value)
    }


def key_of(command: Command) -> str:
    """The key that the record of this command must have."""
    key: str = command["user_id" if command["type"] == "kv.set" else "graph_exec_id"]
    return key


def levels(value: bytes) -> int:
    """The depth of brackets outside strings, in JSON or any other bytes."""
    if value.count(b"{") + value.count(b"[") <= MAX_LEVELS:
        return 0  # cannot be too deep, whatever it is
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING_IN_JSON.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def clean(value: Json) -> Json:
    """The value without the control characters that Postgres or terminals cannot hold."""
    if isinstance(value, str):
        return _CONTROL.sub("", value)
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return Decimal(value) if isinstance(value, Number) else value


def _must_not_have_many_values(value: bytes) -> None:
    """Raise DeadError for more than 1,000,000 commas, colons and opening brackets in no string."""
    if len(value) > 1_000_000:
        structure = Counter(_STRING_IN_JSON.sub(b"", value))
        if sum(structure[beginning] for beginning in b",:[{") > 1_000_000:
            raise DeadError("invalid_field", "$")


def _must_not_repeat_much(command: Command, value: bytes) -> None:
    """Raise DeadError when the stats of a command, once for each of its steps, take too much."""
    steps, stats = command.get("node_exec_ids"), command.get("stats")
    if command["type"] == "node.update_many" and steps and stats is not None:
        sent = msgspec.json.decode(value, type=dict[str, msgspec.Raw])["stats"]
        if len(bytes(sent)) * len(steps) > 2**22:
            raise DeadError("invalid_field", "stats")


def _must_be_storable(command: Command, size: int) -> None:
    """Raise DeadError for a number beyond Postgres' `numeric`, and for exponents beyond the bound.

    `numeric` holds 131,072 digits before the point and 16,383 after it
    (https://www.postgresql.org/docs/current/datatype-numeric.html).
    """
    nodes = command.get("starting_nodes", []) if command["type"] == "graph.create" else []
    numbers = [
        number
        for payload in (
            *(command.get(name) for name in _PAYLOADS[command["type"]]),
            *(value for node in nodes for value in node["inputs"].values()),
        )
        for number in _numbers(payload)
    ]
    if not all(map(_is_storable, numbers)):
        raise DeadError("not_storable", "22003")
    if sum(one.exponent for one in numbers if isinstance(one, Number)) > 2**20 + 4 * size:
        raise DeadError("not_storable", "exponents")


def _numbers(value: Json) -> Iterator[Decimal]:
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Object):
        for item in (*value.values(), *value.replaced):
            yield from _numbers(item)


def _is_storable(number: Decimal) -> bool:
    if not number.is_finite():
        return False
    exponent = int(number.as_tuple().exponent)
    return exponent >= -16_383 and (number == 0 or number.adjusted() < 131_072)


Check = Callable[[Json], bool]


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_text(shortest: int, longest: int) -> Check:
    return lambda value: isinstance(value, str) and shortest <= len(value) <= longest


def _is_anything(_: Json) -> bool:
    return True


def _is_bool(value: Json) -> bool:
    return isinstance(value, bool)


def _is_version(value: Json) -> bool:
    return type(value) is int and 1 <= value <= 2**31 - 1


def _is_object(value: Json) -> bool:
    return isinstance(value, dict)


def _is_status(value: Json) -> bool:
    return isinstance(value, str) and value in ExecutionStatus.__members__


# asyncpg takes these two for -infinity and infinity.
_INFINITE = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _is_time(value: Json) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        time = _time(value)
    except (ValueError, OverflowError):  # 30 February; year 0; year 1 east of Greenwich
        return False
    return time not in _INFINITE


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def _is_pins(value: Json) -> bool:
    return isinstance(value, dict) and len(value) <= 1000 and all(_is_pin(name) for name in value)


def _is_attributes(value: Json) -> bool:
    if not isinstance(value, dict) or len(value) > 16:
        return False
    return all(_is_name(key) and _is_short_text(text) for key, text in value.items())


def _is_uuids(value: Json) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 1000 and all(map(_is_uuid, value))


def _is_starting_nodes(value: Json) -> bool:
    if not isinstance(value, list) or len(value) > 1000:
        return False
    are_nodes = all(
        isinstance(node, dict) and _wrong_field(node, _STARTING_NODE) is None for node in value
    )
    return are_nodes and 1 + sum(1 + len(node["inputs"]) for node in value) <= 2000


_is_uuid = _matches(_UUID)
_is_name = _matches(_NAME)
_is_pin = _is_text(1, 512)
_is_short_text = _is_text(0, 256)
_is_key = _is_text(0, 512)

# Required fields, optional fields.
Fields = tuple[dict[str, Check], dict[str, Check]]
_STARTING_NODE: Fields = (
    {"node_id": _is_name, "block_id": _is_name, "inputs": _is_pins},
    {"node_exec_id": _is_uuid},
)
_EVERY_COMMAND: Fields = (
    {"id": _is_uuid, "at": _is_time, "user_id": _is_name},
    {"reply_to": _is_name},
)
_STEP = {"node_exec_id": _is_uuid}
_FIELDS: dict[str, Fields] = {
    "graph.create": (
        {
            "graph_id": _is_name,
            "graph_version": _is_version,
            "starting_nodes": _is_starting_nodes,
        },
        {
            "inputs": _is_object,
            "credential_inputs": _is_object,
            "nodes_input_masks": _is_object,
            "preset_id": _is_name,
            "parent_graph_exec_id": _is_uuid,
            "dry_run": _is_bool,
            "attributes": _is_attributes,
        },
    ),
    "graph.start": ({}, {}),
    "graph.update": ({}, {"status": _is_status, "stats": _is_object}),
    "graph.share": ({"is_shared": _is_bool}, {"share_token_hash": _matches(_SHA256)}),
    "graph.delete": ({}, {"hard": _is_bool}),
    "node.input": (
        {
            "node_id": _is_name,
            "block_id": _is_name,
            "input_name": _is_pin,
            "input_data": _is_anything,
        },
        {"node_exec_id": _is_uuid, "new_node_exec_id": _is_uuid},
    ),
    "node.output": (_STEP | {"output_name": _is_pin, "output_data": _is_anything}, {}),
    "node.update": (
        _STEP | {"status": _is_status},
        {"execution_data": _is_object, "stats": _is_object},
    ),
    "node.update_many": (
        {"node_exec_ids": _is_uuids, "status": _is_status},
        {"stats": _is_object},
    ),
    "kv.set": (_STEP | {"key": _is_key, "data": _is_anything}, {}),
}
_FREE_TEXT = frozenset(
    {
        "inputs",
        "credential_inputs",
        "nodes_input_masks",
        "attributes",
        "stats",
        "execution_data",
        "input_name",
        "input_data",
        "output_name",
        "output_data",
        "key",
        "data",
    }
)
_PAYLOADS = {
    kind: [
        name
        for fields in both
        for name, check in fields.items()
        if check in (_is_object, _is_anything)
    ]
    for kind, both in _FIELDS.items()
}
_NULL_IS_A_VALUE = frozenset({"input_data", "output_data", "data"})


def _validated(sent: dict[str, Json]) -> Command:
    if type(version := sent.get("v")) is int and version != 1:
        raise DeadError("unsupported_version", str(version))
    kind = sent.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise DeadError("unknown_type", str(kind))
    if version is not None and type(version) is not int:
        raise DeadError("invalid_field", "v")
    command = _cleaned(sent)
    needs_run: Fields = ({} if kind == "kv.set" else {"graph_exec_id": _is_uuid}, {})
    known = {"type"}
    for fields in (_EVERY_COMMAND, needs_run, _FIELDS[kind]):
        known |= fields[0].keys() | fields[1].keys()
        # Names must be of a good length as they were sent and as they are kept.
        if wrong := _wrong_field(sent, fields) or _wrong_field(command, fields):
            raise DeadError("invalid_field", wrong)
    if kind == "graph.share" and command["is_shared"] and "share_token_hash" not in command:
        raise DeadError("invalid_field", "share_token_hash")
    # A field of another command has no meaning in this one.
    command = {name: value for name, value in command.items() if name in known}
    return command | {"at": _time(command["at"])}


def _wrong_field(holder: dict[str, Json], fields: Fields) -> str | None:
    required, optional = fields
    for name, check in required.items():
        if name not in holder or not check(holder[name]):
            return name
    for name, check in optional.items():
        if holder.get(name) is not None and not check(holder[name]):
            return name
    return None


def _cleaned(sent: dict[str, Json]) -> Command:
    command = {
        name: clean(value) if name in _FREE_TEXT else value
        for name, value in sent.items()
        if value is not None or name in _NULL_IS_A_VALUE
    }
    nodes = sent.get("starting_nodes")
    if isinstance(nodes, list):
        command["starting_nodes"] = [
            node | {"inputs": clean(node.get("inputs"))} if isinstance(node, dict) else node
            for node in nodes
        ]
    return command
