"""Measures of JSON bytes that cost little, whatever a sender chose: nesting, and numbers.

Bytes are translated, replaced, split and searched as a whole; no step calls Python once per byte.
"""

import re
import sys
from array import array
from functools import cache
from itertools import accumulate
from operator import add

# ---- nesting -------------------------------------------------------------------------------

_OPENING, _CLOSING = b"[{", b"]}"
_BRACKETS = bytes.maketrans(_OPENING + _CLOSING, b"1100")
_NO_BRACKETS = bytes(set(range(256)).difference(_OPENING + _CLOSING + b'"\\'))
_NO_BEGINNINGS = bytes(set(range(256)).difference(b',:[{"'))
# A string, or the rest of the bytes where it does not end.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_AT_ONCE = 16  # brackets


def may_be_deeper(json: bytes, levels: int) -> bool:
    """Return whether `json` has more opening brackets than `levels`, those in strings included;
    cheap.
    """
    # To count them takes Python three times as long as to leave them out.
    return len(json) - len(json.replace(b"{", b"").replace(b"[", b"")) > levels


def depth(json: bytes) -> int:
    """Count the levels of objects and arrays that `json` opens at its deepest.

    Brackets in strings do not count. `json` need not be valid.
    """
    brackets = outside_strings(_unescaped(json).translate(_BRACKETS, _NO_BRACKETS))
    if b"\\" in brackets:  # one outside of strings, where it escapes nothing
        brackets = _STRING.sub(b"", json).translate(_BRACKETS, _NO_BRACKETS + b'"\\')
    return _deepest(brackets)


def count_values(json: bytes) -> int:
    """Count the commas, colons and opening brackets of valid `json` outside of strings.

    Each of its values, and of the names in its objects, but the first stands behind one of them.
    """
    return len(outside_strings(_unescaped(json).translate(None, _NO_BEGINNINGS)))


def _unescaped(json: bytes) -> bytes:
    """Return `json` without a backslash before another character that it escapes."""
    if b"\\" not in json:
        return json
    return json.replace(rb"\\", rb"\_").replace(rb"\"", rb"\_")


def outside_strings(json: bytes) -> bytes:
    """Remove strings, which hold no escaped quotes, from `json`.

    Two quotes side by side end and begin a string, or the other way round, so both can go first.
    """
    return b"".join(json.replace(b'""', b"").split(b'"')[::2])


def _deepest(brackets: bytes) -> int:
    """Return the highest level of `brackets`, 1 for an opening one and 0 for a closing one."""
    size = -(-len(brackets) // _AT_ONCE)
    if size == 0:
        return 0
    packed = int(brackets.ljust(size * _AT_ONCE, b"0"), 2).to_bytes(size * _AT_ONCE // 8, "big")
    words = array("H", packed)
    if sys.byteorder == "little":
        words.byteswap()
    level_after, highest = _levels()
    before = accumulate(map(level_after.__getitem__, words), initial=0)
    deepest: int = max(map(add, before, map(highest.__getitem__, words)))
    return deepest


@cache
def _levels() -> tuple[list[int], list[int]]:
    """Return, by 16 brackets as bits, the level after them and the highest level on the way."""
    level_after, highest = [0], [0]  # of no bracket
    for _ in range(_AT_ONCE):  # one bracket more, in front
        level_after = [level + way for way in (-1, 1) for level in level_after]
        highest = [max(0, level + way) for way in (-1, 1) for level in highest]
    return level_after, highest
