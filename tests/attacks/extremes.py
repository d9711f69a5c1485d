"""Extreme values for every field of every command: the largest legal one, one beyond it, the
deepest, the widest, the most compressible, and the one that grows longest when it is stored.

Values are JSON bytes. `room` is the number of bytes that the command leaves for the field.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from execstream.streams.commands import (
    COMMAND_TYPES,
    MAX_BATCH_OF_STEPS,
    Command,
    Document,
    Name,
    Pin,
    Time,
    TokenHash,
    Uuid,
    Version,
)
from execstream.streams.decoding import MAX_COMMAND_BYTES, MAX_DEPTH
from execstream.streams.growth import MAX_ENTRIES, MAX_PINS, MAX_STARTING_NODES, MAX_VALUES
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.storable_numbers import EXPONENTS_PER_BYTE, FREE_EXPONENTS

UNKNOWN = "ffffffff-ffff-4fff-8fff-ffffffffffff"
_TO_PAYLOADS = 1  # level of a payload within its command
_PAYLOADS = (Document, msgspec.Raw)


class Extreme(NamedTuple):
    """One value of one field."""

    command: str
    field: str
    variant: str
    fill: Callable[[int], bytes]  # the value that takes so many bytes, or fewer

    def __str__(self) -> str:
        return f"{self.command} {self.field} {self.variant}"


def extremes() -> Iterator[Extreme]:
    """Return all of them. KeyError for a field of a type without values here."""
    for name, command in COMMAND_TYPES.items():
        for field, hint in _fields(command):
            for variant, fill in _VALUES[hint].items():
                yield Extreme(name, field, variant, fill)


def _fields(command: type[Command]) -> Iterator[tuple[str, Any]]:
    """Encoded names and types, without None."""
    hints = get_type_hints(command, include_extras=True)
    for field in msgspec.structs.fields(command):
        yield field.encode_name, _bare(hints[field.name])


def _bare(hint: Any) -> Any:
    if hint in _PAYLOADS or get_origin(hint) is Annotated:
        return hint
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and type(None) in get_args(hint) else hint


def _always(value: Any) -> Callable[[int], bytes]:
    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return lambda _: encoded


def _text(room: int) -> bytes:
    return b'"' + b"x" * (room - 2) + b'"'


def _long_text(room: int) -> bytes:
    return _text(room // 16)


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _numbers(count: int) -> Callable[[int], bytes]:
    return _always(b"[" + b"1," * (count - 1) + b"1]")


def _escapes(room: int) -> bytes:
    return b'"' + rb"\u0001" * ((room - 2) // 6) + b'"'


def _brackets_in_text(room: int) -> bytes:
    return b'"' + b"[" * (room - 2) + b'"'


def _lists(count: int) -> Callable[[int], bytes]:
    return _always(b"[" + b"[]," * (count - 1) + b"[]]")


def _exponents(room: int) -> bytes:
    """Numbers with exponents that sum up to nearly the limit of a command of the largest size."""
    each = b"1e99999"
    count = (FREE_EXPONENTS + EXPONENTS_PER_BYTE * room) // 99_999
    return b"[" + b",".join([each] * count) + b"]"


def _too_many_exponents(room: int) -> bytes:
    count = (FREE_EXPONENTS + EXPONENTS_PER_BYTE * MAX_COMMAND_BYTES) // 99_999 + 1
    return b"[" + b",".join([b"1e99999"] * count) + b"]"


def _keys(count: int) -> Callable[[int], bytes]:
    return _always(b"{" + b",".join(b'"%07d":1' % number for number in range(count)) + b"}")


def _within(fill: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """The same in an object."""
    return lambda room: b'{"x":' + fill(room - 6) + b"}"


def _nodes(count: int, pins: int) -> Callable[[int], bytes]:
    inputs = ",".join(f'"{number}":1' for number in range(pins))
    node = f'{{"node_id":"n","block_id":"b","inputs":{{{inputs}}}}}'
    return _always(f"[{','.join([node] * count)}]".encode())


def _node_with(fill: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def filled(room: int) -> bytes:
        start, end = b'[{"node_id":"n","block_id":"b","inputs":{"p":', b"}}]"
        return start + fill(room - len(start) - len(end)) + end

    return filled


def _ids(count: int) -> Callable[[int], bytes]:
    return _always([f"{number:08x}-0000-4000-8000-000000000000" for number in range(count)])


_VALUE = {
    "largest": _text,
    "one beyond": lambda room: _text(room + 1),
    "deepest": lambda _: _nested(MAX_DEPTH - _TO_PAYLOADS),
    "one deeper": lambda _: _nested(MAX_DEPTH - _TO_PAYLOADS + 1),
    "widest": _numbers(MAX_VALUES - 10),
    "too wide": _numbers(4 * MAX_VALUES),
    "most keys": _keys(MAX_VALUES // 2 - 10),
    "lists": _lists(MAX_VALUES // 2 - 10),
    "too many lists": _lists(2 * MAX_VALUES),
    "escapes": _escapes,
    "brackets in text": _brackets_in_text,
    "longest expanding": _exponents,
    "expanding too far": _too_many_exponents,
}
_OBJECT = {
    variant: _within(fill) if variant != "most keys" else fill for variant, fill in _VALUE.items()
} | {
    "deepest": _within(lambda _: _nested(MAX_DEPTH - _TO_PAYLOADS - 1)),
    "one deeper": _within(lambda _: _nested(MAX_DEPTH - _TO_PAYLOADS)),
}
_UUID = {
    "largest": _always(UNKNOWN),
    "one beyond": _always(UNKNOWN + "f"),
    "long": _long_text,
}
_SHORT_TEXT = {"largest": _always("x" * 512), "one beyond": _always("x" * 513), "long": _long_text}
_STATUSES = {status.value: _always(status.value) for status in ExecutionStatus}
_WHOLE = {
    "largest": _always(2**31 - 1),
    "one beyond": _always(2**31),
    "long": lambda room: b"1" * (room // 16),
}

# By type; a field of a type that is not here has no extreme values, and the test fails.
_VALUES: dict[Any, dict[str, Callable[[int], bytes]]] = {
    Uuid: _UUID,
    Name: {"largest": _always("x" * 128), "one beyond": _always("x" * 129), "long": _long_text},
    Time: {
        "largest": _always("9999-12-31T23:59:59.999998999Z"),
        "one beyond": _always("9999-12-31T23:59:59.9999999999Z"),
        "first": _always("0001-01-01T00:00:00.000001Z"),
        "long": _long_text,
    },
    Pin: {
        **_SHORT_TEXT,
        "widest": _always("\N{GRINNING FACE}" * 512),
        "escapes": _always("\x01" * 511 + "x"),
    },
    Annotated[str, msgspec.Meta(max_length=512)]: _SHORT_TEXT,
    TokenHash: {"largest": _always("f" * 64), "one beyond": _always("f" * 65), "long": _long_text},
    Version: _WHOLE,
    int: _WHOLE | {"largest": _always(1)},
    bool: {"true": _always(True), "long": _long_text},
    ExecutionStatus: _STATUSES | {"long": _long_text},
    Document: _OBJECT,
    msgspec.Raw: _VALUE,
    get_type_hints(COMMAND_TYPES["graph.create"], include_extras=True)["starting_nodes"]: {
        "most nodes": _nodes(MAX_STARTING_NODES, 0),
        "one node more": _nodes(MAX_STARTING_NODES + 1, 0),
        "most pins": _nodes(1, MAX_PINS),
        "one pin more": _nodes(1, MAX_PINS + 1),
        "most entries": _nodes((MAX_ENTRIES - 1) // 10, 9),
        "many more entries": lambda room: _nodes(1, 840_000 * room // MAX_COMMAND_BYTES)(room),
        **{variant: _node_with(fill) for variant, fill in _VALUE.items() if "deep" not in variant},
        "deepest": _node_with(lambda _: _nested(MAX_DEPTH - 4)),
        "one deeper": _node_with(lambda _: _nested(MAX_DEPTH - 3)),
    },
    get_type_hints(COMMAND_TYPES["node.update_many"], include_extras=True)["node_exec_ids"]: {
        "most": _ids(MAX_BATCH_OF_STEPS),
        "one more": _ids(MAX_BATCH_OF_STEPS + 1),
    },
}
