"""JSON with exact numbers, and with the values that its duplicate names replace.

Numbers become `int` or `Decimal`, never `float`, so that nothing about them is lost.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

Json = Any

MAX_INT_LENGTH = 4000  # characters; Python refuses to read longer ones as `int`

_SURROGATE = re.compile("[\ud800-\udfff]")


class Number(Decimal):
    """A number that is written with a fraction or an exponent."""

    exponent = 0  # as it is written, without its sign


class Object(dict[str, Json]):
    """An object, with the values of names that came again: they are stored before they go."""

    replaced: Sequence[Json] = ()


def read_json(value: bytes | str) -> Json:
    """JSON with exact numbers; `ValueError` for values that the contract calls `not_json`."""
    text = value.decode() if isinstance(value, bytes) else value
    parsed = json.loads(
        text,
        parse_int=_integer,
        parse_float=_decimal,
        parse_constant=_no_such_number,
        object_pairs_hook=_object,
    )
    _must_have_no_surrogates(parsed)
    return parsed


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_INT_LENGTH else Decimal(text)


def _decimal(text: str) -> Number:
    try:
        number = Number(text)
    except InvalidOperation:  # an exponent of some 19 digits: no number anywhere
        return Number("Infinity")
    number.exponent = int(text.lower().partition("e")[2].lstrip("+-0") or 0)
    return number


def _no_such_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    # All pairs, also those that a later one of the same name replaces.
    for name, value in pairs:
        _must_have_no_surrogates(name)
        _must_have_no_surrogates(value)
    found = Object(pairs)
    if len(found) < len(pairs):
        last = {name: place for place, (name, _) in enumerate(pairs)}
        found.replaced = [item for place, (name, item) in enumerate(pairs) if place != last[name]]
    return found


def _must_have_no_surrogates(value: Json) -> None:
    """Raise `ValueError` for one in a string or a list of them; objects were looked at before."""
    if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
        raise ValueError("lone surrogate")
    if isinstance(value, list):
        for item in value:
            _must_have_no_surrogates(item)
