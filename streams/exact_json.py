"""JSON that keeps the value of numbers.

A whole number is an `int`. Any other is a `float` where that has exactly the written value, and a
`Decimal` where digits would be lost or the number would become infinite or zero.
"""

import json
from decimal import Decimal

import msgspec

Number = int | float | Decimal

MAX_INT_DIGITS = 4_000  # Python reads and writes no longer ones as `int`; they are `Decimal` too


def decode(text: str | bytes) -> object:
    """The value of a JSON text. Raises ValueError (msgspec's DecodeError is one)."""
    try:
        return _decode(text)
    except msgspec.ValidationError:
        # A whole number that is too long for msgspec.
        return json.loads(text, parse_int=_whole, parse_float=_number)


def encode(value: object) -> bytes:
    """The value as JSON, models of ours included; pydantic's own encoder writes a Decimal as a
    string.
    """
    return _encode(value)


def _whole(text: str) -> Number:
    return int(text) if len(text) <= MAX_INT_DIGITS else Decimal(text)


def _number(text: str) -> Number:
    nearest = float(text)
    if repr(nearest) == text:
        return nearest
    exact = Decimal(text)
    return nearest if Decimal(repr(nearest)) == exact else exact


def _plain(value: object) -> object:
    from pydantic import BaseModel  # noqa: PLC0415 - a caller with a model has imported it already

    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {str(value)[:200]!r}")


_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain).encode
