"""Attributes of a run: short texts by key that its creator chose, to find runs by.

Documented in `docs/contract.md`, section 2.
"""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from execstream.streams.commands import FORMS, NAME
from execstream.streams.errors import Fatal

MAX_ATTRIBUTES = 16
MAX_VALUE = 256  # characters

Key = Annotated[str, Meta(pattern=NAME)]
Value = Annotated[str, Meta(max_length=MAX_VALUE)]
# As schemas describe them.
Attributes = Annotated[dict[Key, Value], Meta(max_length=MAX_ATTRIBUTES)]


class NoAttribute(Fatal):
    """The text of a filter names no attribute that a run can have."""


_by_key = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder(Value).decode
_is_key = re.compile(NAME).match


def describe_misfit(attributes: Raw) -> str | None:
    """Return the fault of `attributes`, a JSON object; None without one.

    Of equal keys the last one counts, so types alone do not find it.
    """
    found = _by_key(attributes)
    if len(found) > MAX_ATTRIBUTES:
        return f"Expected at most {MAX_ATTRIBUTES} keys, found {len(found)}"
    for key, value in found.items():
        if not _is_key(key):
            return f"{FORMS[NAME]} as key"
        try:
            _value(value)
        except msgspec.DecodeError:
            return f"Expected a text of at most {MAX_VALUE} characters for each key"
    return None


def read_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Read attributes in the form `key=value`, as filters have them. Raises NoAttribute."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not _is_key(key):
            raise NoAttribute(f"{pair!r} is not KEY=VALUE: {FORMS[NAME]} before the equals sign.")
        if found.setdefault(key, value) != value:
            raise NoAttribute(f"No run has two values of the attribute {key}.")
    return found
