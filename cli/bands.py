"""Rows that are wider than the terminal, in bands of columns that fit.

The first band begins at the margin and the others are indented, so that it is seen where a row
begins. Columns of one band stand below each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

GAP = 2  # columns of the terminal between two of the table, as rich has them
INDENT = 2
LEAST_FREE = 24  # of a column of free text


class Share(NamedTuple):
    """The columns of the terminal that a column of the table needs; free text may have fewer."""

    width: int
    is_free: bool


class Slot(NamedTuple):
    """The position of a column of the table."""

    column: int
    width: int


Bands = list[list[Slot]]


def width_of(shares: Sequence[Share]) -> int:
    """Columns of the terminal that a row takes in one line, with nothing cut."""
    return sum(share.width for share in shares) + GAP * (len(shares) - 1)


def bands_of(shares: Sequence[Share], width: int) -> Bands:
    """Put each column behind the one before, or into a new band when it does not fit there.

    Free text gets the rest of its band.
    """
    bands: list[list[int]] = [[]]
    left = [width]
    for column, share in enumerate(shares):
        gap = GAP if bands[-1] else 0
        if gap and _least(share) + gap > left[-1]:
            bands.append([])
            left.append(width - INDENT)
            gap = 0
        bands[-1].append(column)
        left[-1] -= _least(share) + gap
    return [
        [Slot(column, _widened(shares[column], over)) for column in band]
        for band, over in zip(bands, left, strict=True)
    ]


def _least(share: Share) -> int:
    return min(share.width, LEAST_FREE) if share.is_free else share.width


def _widened(share: Share, over: int) -> int:
    return min(share.width, _least(share) + max(0, over)) if share.is_free else share.width
