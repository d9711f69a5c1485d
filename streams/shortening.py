"""Shortening JSON that is over a limit, in the middle of its largest values.

The result is valid JSON of the same kind and marks each omission with its size: a string keeps its
beginning and its end, an array or object as many items as fit, or the first and the last 50.
Numbers keep their digits. Made for the rare value that is too large: it parses.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

KEPT_AT_EACH_END = 50
FLOOR = 64  # bytes; room for a marker that stands for a whole value

Item = TypeVar("Item")

_as_items = msgspec.json.Decoder(dict[str, Raw]).decode
_as_values = msgspec.json.Decoder(list[Raw]).decode
_as_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def left_out(count: int, what: str) -> str:
    """The marker that stands where something is missing."""
    return f"… {count} {what} left out …"


def ends(items: Sequence[Item], marker: Item) -> list[Item]:
    """The first and the last 50 of `items`, which are more than 100, around `marker`."""
    return [*items[:KEPT_AT_EACH_END], marker, *items[-KEPT_AT_EACH_END:]]


def shorten(json: bytes, limit: int) -> bytes:
    """`json`, valid and without space around it, in at most `limit` bytes (at least `FLOOR`)."""
    if len(json) <= limit:
        return json
    first = json[:1]
    if first == b"{":
        return _shorten_object(json, limit)
    if first == b"[":
        return _shorten_array(json, limit)
    if first == b'"':
        return _shorten_string(json, limit)
    return _encode(left_out(len(json), "digits"))


def _shorten_string(json: bytes, limit: int) -> bytes:
    text = _as_text(json)
    kept = limit - FLOOR  # characters; fewer where they take more than a byte
    while True:
        half = kept // 2
        marker = left_out(len(text) - 2 * half, "characters")
        short = _encode(text[:half] + marker + text[len(text) - half :])
        if len(short) <= limit:
            return short
        kept = kept * 3 // 4


def _shorten_array(json: bytes, limit: int) -> bytes:
    values = [bytes(value) for value in _as_values(json)]
    for kept in (values, _ends_of_values(values)):
        room = limit - 2 - len(kept)
        cap = _cap([len(value) for value in kept], room)
        if cap >= FLOOR:
            return b"[" + b",".join(shorten(value, cap) for value in kept) + b"]"
    return _encode([left_out(len(values), "values")])


def _ends_of_values(values: list[bytes]) -> list[bytes]:
    missing = len(values) - 2 * KEPT_AT_EACH_END
    return ends(values, _encode(left_out(missing, "values"))) if missing > 0 else values


def _shorten_object(json: bytes, limit: int) -> bytes:
    items = [(_encode(name), bytes(value)) for name, value in _as_items(json).items()]
    for kept in (items, _ends_of_items(items)):
        room = limit - 2 - sum(len(name) + 2 for name, _ in kept)
        cap = _cap([len(value) for _, value in kept], room)
        if cap >= FLOOR:
            return b"{" + b",".join(n + b":" + shorten(v, cap) for n, v in kept) + b"}"
    return b"{" + b":".join(_item_marker(items, len(items))) + b"}"


def _ends_of_items(items: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    missing = len(items) - 2 * KEPT_AT_EACH_END
    return ends(items, _item_marker(items, missing)) if missing > 0 else items


def _item_marker(items: list[tuple[bytes, bytes]], missing: int) -> tuple[bytes, bytes]:
    """An item for a marker among `items`; an array if all of them are arrays, as pins with their
    values.
    """
    are_arrays = all(value.startswith(b"[") for _, value in items)
    return _encode(left_out(missing, "items")), b"[]" if are_arrays else b"null"


def _cap(sizes: list[int], room: int) -> int:
    """The most bytes each value may take so that all of them fit into `room`.

    Small values leave the room that they do not need to the large ones.
    """
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return room // left
        room -= size
        left -= 1
    return FLOOR + max(sizes, default=0)  # they fit as they are
