"""Control characters go, everything else stays as it was sent."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.config.logs import _renderers
from execstream.streams.text import clean_json, clean_text, may_need_cleaning
from tests.exploring import exploring
from tests.rooms import ROOT

REMOVED = [chr(code) for code in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)]
KEPT = ["\t", "\n", "\r", " ", "~", "\x80", "\x9f", "\u2028", "\ufeff", "é", "💥"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def cleaned(value: object) -> object:
    """The value cleaned as the contract defines it."""
    if isinstance(value, str):
        return "".join(char for char in value if char not in REMOVED)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("char", REMOVED, ids=ascii)
def test_controls_go(char: str) -> None:
    """They are removed from text, and from JSON in every way to write them."""
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


_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))|\x7f", re.DOTALL)


def plainly_cleaned(written: bytes) -> bytes:
    """Escape by escape."""

    def kept(match: re.Match[bytes]) -> bytes:
        code, short = match.groups()
        if code is not None:
            return b"" if chr(int(code, 16)) in REMOVED else match.group()
        return b"" if short in (None, b"b", b"f") else match.group()

    return _ESCAPE.sub(kept, written)


def in_lower_case(written: bytes) -> bytes:
    return written.replace(b"u000A", b"u000a").replace(b"u000D", b"u000d")


pieces = st.one_of(
    st.integers(0, 0xFF).map("\\u{:04x}".format),
    st.integers(0, 0xFF).map("\\u{:04X}".format),
    st.sampled_from(
        [r"\b", r"\f", r"\n", r"\t", r"\\", r"\"", r"\/", r"\u0001", r"\u2028", r"\ud83d\ude00"]
    ),
    st.sampled_from(["u0000", "U0001", "u000", "0001", "b", "\x7f", "\x85", "\xff", "é", "💥"]),
)


@exploring(short=2_000, long=50_000)
@given(st.lists(pieces, max_size=30).map("".join), st.booleans())
def test_cleaning_is_that_of_each_escape(text: str, in_key: bool) -> None:
    """Byte for byte, but for capitals in the escape of a line break; and it is known beforehand
    whether anything goes."""
    written = (f'{{"{text}":\t[1]\r\n}}' if in_key else f'["{text}"]').encode()
    json.loads(written)

    found = in_lower_case(clean_json(written))
    assert found == in_lower_case(plainly_cleaned(written))
    assert may_need_cleaning(written) == (found != in_lower_case(written))


@exploring(short=500, long=5_000)
@given(st.text() | st.text("".join((*REMOVED, *KEPT, "\ud800"))))
def test_text_is_cleaned_character_by_character(text: str) -> None:
    """Lone surrogates included."""
    assert clean_text(text) == "".join(char for char in text if char not in REMOVED)


@exploring(short=200, long=5_000)
@given(values)
def test_cleaning_is_what_the_contract_says(value: object) -> None:
    """On any JSON; and clean text is not reported."""
    for ascii_only in (True, False):
        written = json.dumps(value, ensure_ascii=ascii_only)
        assert json.loads(clean_json(written.encode("utf-8", "surrogatepass"))) == cleaned(value)
        if not may_need_cleaning(written.encode("utf-8", "surrogatepass")):
            assert cleaned(value) == value


# ---- at a terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "cli").rglob("*.py")), ids=lambda file: file.name)
def test_only_one_module_makes_consoles_and_texts(file: Path) -> None:
    """Others take `Text`, `Table` and the consoles from `cli/terminal.py`, where all is escaped;
    nor do they print by themselves, except JSON and SQL."""
    names, calls = set(), 0
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.Name) and node.id == "print":
            calls += 1
    if file.name != "terminal.py":
        assert not names & {"Console", "Table", "Text", "TextColumn", "Style", "print", "text"}
        assert calls == (file.name in ("common.py", "migrate.py"))


def test_logs_in_columns() -> None:
    """Values of events, and messages of exceptions, are escaped; a traceback keeps its lines."""
    error = ValueError("\x1b[2J\u202e")
    event: Any = {"event": "x", "level": "error", "error": "\x1b]0;a\x07\n", "exc_info": error}
    for render in _renderers("columns"):
        event = render(None, "error", event)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", event)  # our own colours
    assert r"\x1b]0;a\x07\n" in printed
    assert "\n" in printed
    assert r"ValueError: \x1b[2J\u202e" in printed
    assert not {"\x1b", "\x07", "\u202e"} & set(printed)
