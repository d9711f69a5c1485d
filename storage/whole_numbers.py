"""Integers as `numeric` in the binary form of Postgres.

asyncpg makes a `Decimal` of each and takes that apart: three times the time.
"""

import struct

import asyncpg

_BASE = 10_000  # of a digit
_HEAD = struct.Struct(">hhHH")  # number of digits, weight of the first, sign, scale
_MINUS = 0x4000
_ZERO = _HEAD.pack(0, 0, 0, 0)


async def write_whole_numbers(connection: asyncpg.Connection) -> None:
    """From now on `numeric` values of `connection` are integers of any size."""
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary"
    )


def _encode(number: int) -> bytes:
    if not number:
        return _ZERO
    rest, digits = abs(number), []
    while rest:
        rest, digit = divmod(rest, _BASE)
        digits.append(digit)
    count = len(digits)
    sign = _MINUS if number < 0 else 0
    return struct.pack(f">hhHH{count}H", count, count - 1, sign, 0, *reversed(digits))


def _decode(numeric: bytes) -> int:
    count, weight, sign, _ = _HEAD.unpack_from(numeric)
    digits = struct.unpack_from(f">{count}H", numeric, _HEAD.size)
    if count > weight + 1 or sign not in (0, _MINUS):
        raise ValueError(f"{numeric.hex()} is no integer")
    number: int = 0
    for digit in digits:
        number = number * _BASE + digit
    number *= int(_BASE ** (weight + 1 - count))
    return -number if sign else number
