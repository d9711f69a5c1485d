"""Validators of messages by their JSON Schemas, with patterns as the standard reads them."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from execstream.cli.schema import CONTRACTS
from execstream.streams import exact_json
from execstream.streams.errors import NOT_READABLE

_any_json = msgspec.json.Decoder(msgspec.Raw)


def _pattern(_: object, pattern: str, text: object, __: object) -> Iterator[ValidationError]:
    """In ECMAScript `$` is the end of the text; in Python a line break may follow."""
    expected = re.sub(r"\$\Z", r"\\Z", pattern)
    if isinstance(text, str) and not re.search(expected, text):
        yield ValidationError(f"{text[:100]!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def validator(name: str) -> Any:
    """Return the validator of one of CONTRACTS."""
    return _Validator(CONTRACTS[name].document(name))


def is_valid(name: str, value: bytes | None) -> bool:
    """Whether a record's value is JSON, and valid by the schema `name`."""
    try:
        (value or b"").decode()
        _any_json.decode(value or b"")
    except NOT_READABLE:
        return False
    return bool(validator(name).is_valid(exact_json.decode(value or b"")))
