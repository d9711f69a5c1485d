"""Control characters go, everything else stays as it was sent, byte for byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.streams.text import clean_json, clean_text, may_need_cleaning
from tests.exploring import exploring

REMOVED = [chr(code) for code in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)]
KEPT = ["\t", "\n", "\r", " ", "~", "\x80", "\x9f", "\u2028", "\ufeff", "é", "💥"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def cleaned(value: object) -> object:
    """As the contract says it, on the value."""
    if isinstance(value, str):
        return "".join(char for char in value if char not in REMOVED)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("char", REMOVED, ids=ascii)
def test_controls_go(char: str) -> None:
    """From text, and from JSON in every way to write them."""
    assert clean_text(f"a{char}b") == "ab"
    escaped = f'{{"a\\u{ord(char):04x}": "\\u{ord(char):04X}b"}}'.encode()
    assert may_need_cleaning(escaped)
    assert clean_json(escaped) == b'{"a": "b"}'
    assert json.loads(clean_json(json.dumps(f"a{char}b").encode())) == "ab"


@pytest.mark.parametrize("char", KEPT, ids=ascii)
def test_the_rest_stays(char: str) -> None:
    """In text, and in JSON as it was written."""
    assert clean_text(f"a{char}b") == f"a{char}b"
    for written in (json.dumps(f"a{char}b"), json.dumps(f"a{char}b", ensure_ascii=False)):
        assert clean_json(written.encode()) == written.encode()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r'"\\u0000"', r'"\\u0000"'),
        (r'"\\\u0000"', r'"\\"'),
        (r'"\\b\b\\f\f"', r'"\\b\\f"'),
        (r'"\"\u0000\""', r'"\"\""'),
        (r'"\n\t\r\/"', r'"\n\t\r\/"'),
        (r'{"\u0000": 1.50e+2}', r'{"": 1.50e+2}'),
        ('"\x7f"', '""'),
    ],
)
def test_escapes_are_told_apart(sent: str, kept: str) -> None:
    """A backslash may itself be escaped; numbers keep their digits."""
    assert clean_json(sent.encode()) == kept.encode()


@exploring(short=200, long=5_000)
@given(values)
def test_cleaning_is_what_the_contract_says(value: object) -> None:
    """On any JSON; and what needs none is not said to."""
    for ascii_only in (True, False):
        written = json.dumps(value, ensure_ascii=ascii_only)
        assert json.loads(clean_json(written.encode("utf-8", "surrogatepass"))) == cleaned(value)
        if not may_need_cleaning(written.encode("utf-8", "surrogatepass")):
            assert cleaned(value) == value
