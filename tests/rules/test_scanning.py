"""Nesting and values are measured as a machine of three states does it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.scanning import count_values, depth
from tests.exploring import exploring


def plain_depth(json: bytes) -> int:
    """The depth as the contract defines it, byte by byte."""
    level = deepest = 0
    in_string = escaped = False
    for byte in json:
        if escaped:
            escaped = False
        elif in_string:
            escaped = byte == 0x5C
            in_string = byte != 0x22
        elif byte == 0x22:
            in_string = True
        elif byte in b"{[":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"}]":
            level -= 1
    return deepest


pieces = st.sampled_from([b"[", b"{", b"]", b"}", b'"', b"\\", b"a", b'"[', b"[]", b"[" * 20])


@exploring(short=2_000, long=50_000)
@given(st.lists(pieces, max_size=60).map(b"".join) | st.binary(max_size=200))
def test_depth_is_that_of_the_plain_machine(json: bytes) -> None:
    """On bytes of any kind, valid or not."""
    assert depth(json) == plain_depth(json)


@pytest.mark.parametrize(
    ("json", "levels"),
    [
        (b"", 0),
        (b"]]][", 0),
        (b'"\\"[" [', 1),
        (b'"\\\\"[', 1),
        (b'\\"[" [', 1),  # a backslash outside of strings escapes nothing
        (b'"[', 0),
        (b"[" * 100_000 + b"]" * 100_000, 100_000),
    ],
)
def test_depths(json: bytes, levels: int) -> None:
    """Known ones."""
    assert depth(json) == levels


values = st.recursive(
    st.none() | st.text(max_size=5) | st.sampled_from(['"', ",", ":", "[", "\\", '\\"', '""']),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
)


@pytest.mark.slow
@exploring(short=1_000, long=20_000)
@given(values)
def test_values_are_counted_outside_of_strings(value: object) -> None:
    """Commas, colons and opening brackets, as many as a walk through the value finds."""
    json = msgspec.json.encode(value)
    assert count_values(json) == plain_count(value)


def plain_count(value: object) -> int:
    """Commas, colons and opening brackets of the JSON of `value`."""
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    colons = len(inner) if isinstance(value, dict) else 0
    return max(1, len(inner)) + colons + sum(map(plain_count, inner))
