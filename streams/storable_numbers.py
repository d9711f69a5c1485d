"""Numbers in payloads: those that Postgres' `numeric` cannot hold, and those that grow when stored.

`jsonb` writes numbers without an exponent: `1e131071` takes 131,072 digits wherever it is read.
So the exponents of a command, each without its sign, have a limit for their sum.
"""

import re
from collections import Counter
from itertools import islice

from execstream.streams.scanning import outside_strings

MAX_DIGITS = 131_072  # before the decimal point
MAX_FRACTION_DIGITS = 16_383
FREE_EXPONENTS = 1024 * 1024  # the most that the exponents of any command may sum up to
EXPONENTS_PER_BYTE = 4  # and more than that, by the size of the command

_OUT_OF_RANGE = {
    "sqlstate": "22003",  # with which Postgres would refuse it
    "message": f"A number has more than {MAX_DIGITS:,} digits before the decimal point, or "
    f"{MAX_FRACTION_DIGITS:,} after it",
}

# Payloads are first searched for the shape of a number that may be beyond a limit: digits as zeros,
# and everything deleted that neither belongs to a number nor separates two. In commands of up to
# 6,400 bytes exponents of three digits stay below both limits, of up to 65,536 bytes those of two.
_MANY_DIGITS = b"0" * 4_096
_SMALL, _MEDIUM = 6_400, 65_536  # bytes of a command
_SHAPE = bytes.maketrans(b"E123456789", b"e000000000")
_IRRELEVANT = bytes(set(range(256)).difference(b'0123456789eE,:[]{}" \t\r\n'))

# JSON with its strings and letters taken out: numbers, with a comma between any two.
_BETWEEN = b",:[]{} \t\r\n"
_SEPARATED = bytes.maketrans(b"E" + _BETWEEN, b"e" + b"," * len(_BETWEEN))
_NO_NUMBERS = bytes(set(range(256)).difference(b'0123456789+-.eE"' + _BETWEEN))
_EXPONENT = re.compile(rb"e[-+]?0*([0-9]+)")
_LONG_EXPONENT = 1_000
_MOST_DIGITS = 10  # of an exponent; Python takes long to read a long one
_LONG = re.compile(rb",-?([^,]{4096,}+|[0-9.]++e[-+]?+0*+[1-9][0-9]{3,}+)")
_NUMBER = re.compile(rb"([0-9]+)(?:\.([0-9]+))?(?:e([-+]?)0*([0-9]+))?")


def unstorable(payloads: bytes, size: int) -> dict[str, object] | None:
    """Return the detail of the dead letter when a command of `size` bytes is not to be stored.

    `payloads` are JSON values with commas between them.
    """
    return _judge(b"," + _numbers(payloads), size) if is_suspect(payloads, size) else None


def is_suspect(payloads: bytes, size: int) -> bool:
    """Return whether one of the numbers may be beyond a limit; cheap."""
    shape = payloads.translate(_SHAPE, _IRRELEVANT)
    return shape.find(_shape_of(size)) >= 0 or shape.find(_MANY_DIGITS) >= 0


def _shape_of(size: int) -> bytes:
    """Return the shape of the shortest exponent that matters in a command of `size` bytes."""
    if size <= _SMALL:
        return b"0e0000"
    return b"0e000" if size <= _MEDIUM else b"0e00"


def _judge(numbers: bytes, size: int) -> dict[str, object] | None:
    limit = FREE_EXPONENTS + EXPONENTS_PER_BYTE * size
    most_long = limit // _LONG_EXPONENT + size // len(_MANY_DIGITS) + 1  # within all limits
    if not all(map(_fits, islice(_LONG.finditer(numbers), most_long))):
        return dict(_OUT_OF_RANGE)
    exponents = Counter(_EXPONENT.findall(numbers))
    if sum(_value(digits) * count for digits, count in exponents.items()) <= limit:
        return None
    message = f"The exponents of its numbers, without their signs, sum up to more than {limit:,}"
    return {"message": message, "limit": limit}


def _numbers(payload: bytes) -> bytes:
    if b"\\" in payload:
        payload = payload.replace(rb"\\", b"").replace(rb"\"", b"")
    return outside_strings(payload.translate(_SEPARATED, _NO_NUMBERS))


def _fits(long: re.Match[bytes]) -> bool:
    """Check a match of _LONG against the limits of `numeric`."""
    number = _NUMBER.match(long[1])
    assert number is not None  # noqa: S101 - for the type checker: the payload is JSON
    whole, fraction, sign, digits = number.groups(default=b"")
    exponent = _value(digits) if digits else 0
    if sign == b"-":
        exponent = -exponent
    if len(fraction) - exponent > MAX_FRACTION_DIGITS:
        return False
    significant = (whole + fraction).lstrip(b"0")
    if not significant:
        return True
    return len(significant) - len(fraction) + exponent <= MAX_DIGITS


def _value(digits: bytes) -> int:
    """Return the exponent, or one beyond every limit where it has more than ten digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
