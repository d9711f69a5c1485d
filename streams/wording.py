"""Sentences about records that become dead letters, in the words of the contract.

Messages of the JSON library and of Python are read here and nowhere else: a sender gets none of
them, because they change with every version of the library.
"""

import re
from typing import NamedTuple

from execstream.streams.commands import FORMS, UUID
from execstream.streams.statuses import ExecutionStatus

MAX_QUOTE = 200  # characters of a sent text that a dead letter's detail repeats


class Complaint(NamedTuple):
    """A sentence about one field; `path` is that of the field, `$` the command itself."""

    path: str
    message: str


# The path of the fault in a command, as msgspec ends its messages.
_PLACE = re.compile(r" - at (?:`key` in )?`([^`]*)`\Z")
_MISSING = re.compile(r"Object missing required field `([^`]*)`\Z")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`\Z")
_LIMIT = re.compile(r"Expected `(\w+)` (?:of length )?(<=|>=) (\d+)\Z")
_STATUS = re.compile(r"Invalid enum value '(.*)'\Z", re.DOTALL)
_PATTERNS = {f"Expected `str` matching regex {form!r}": text for form, text in FORMS.items()}
_PATTERNS["Expected `str` of length <= 36"] = FORMS[UUID]  # no other text has this limit
_KINDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number with a fraction or an exponent",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
}
_COUNTED = {"array": " elements", "int": "", "str": " characters"}
_BOUNDS = {"<=": "at most", ">=": "at least"}

_BYTE = re.compile(r"(?:JSON is malformed: )?(.*) \(byte (\d+)\)\Z")
_MALFORMED = {
    "invalid character": "no value of JSON begins there",
    "invalid escaped character": "the escape is none of JSON's",
    "invalid number": "the number is none of JSON's",
    "invalid utf-16 surrogate pair": "a surrogate stands alone",
    "object keys must be strings": "the name of a field must be a string",
    "trailing characters": "the record goes on after the end of the object",
    "trailing comma in array": "the comma is followed by no element",
    "trailing comma in object": "the comma is followed by no field",
}
_EXPECTED = re.compile(r"expected (.*)\Z")


def describe_misfit(error: str) -> Complaint:
    """Describe a value that does not fit the fields of its command, from the message of msgspec."""
    place = _PLACE.search(error)
    path, found = (place[1], error[: place.start()]) if place else ("$", error)
    if missing := _MISSING.match(found):
        return Complaint(f"{path}.{missing[1]}", "This field is missing")
    return Complaint(path, _PATTERNS.get(found) or _describe_value(found))


def describe_malformed(error: Exception) -> str:
    """Describe why bytes are not JSON; bytes are counted from 0."""
    if isinstance(error, UnicodeDecodeError):
        return f"The record is no UTF-8 at byte {error.start}"
    if not (match := _BYTE.match(str(error))):
        return "The JSON is incomplete"
    problem = _MALFORMED.get(match[1])
    if problem is None and (expected := _EXPECTED.match(match[1])):
        problem = f"{expected[1]} is missing"
    suffix = f": {problem}" if problem else ""
    return f"The record is no JSON at byte {match[2]}{suffix}"


def describe_no_moment(error: ValueError) -> str:
    """Describe why a time of the right form is invalid."""
    return f"There is no such time: {str(error)[:MAX_QUOTE]}"


def _describe_value(found: str) -> str:
    if match := _TYPE.match(found):
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in match[1].split(" | "))
        return f"Expected {wanted}, not {_KINDS.get(match[2], match[2])}"
    if match := _LIMIT.match(found):
        kind, bound, limit = match.groups()
        what = "an integer of " if kind == "int" else ""
        return f"Expected {what}{_BOUNDS[bound]} {int(limit):,}{_COUNTED[kind]}"
    if match := _STATUS.match(found):
        return f"Expected one of {', '.join(ExecutionStatus)}, not {match[1][:MAX_QUOTE]}"
    return "The value is none that this field takes"
