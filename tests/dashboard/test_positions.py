"""Positions: as ids of a stream and back, and which of two is further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.dashboard.feed.cursor import BEGINNING, Ids, InvalidPosition, covers, decode, encode

numbers = st.integers(0, 2**31 - 1)
places = st.tuples(st.integers(0, 2**63 - 1), numbers)
positions = st.dictionaries(numbers, places, max_size=9)


@given(positions)
def test_ids(position: dict[int, tuple[int, int]]) -> None:
    """An id contains its position, and nothing that ends a line or a header."""
    text = encode(position)
    assert decode(text) == position
    assert set(text) <= set("0123456789.~")


@given(positions, positions)
def test_covers(one: dict[int, tuple[int, int]], other: dict[int, tuple[int, int]]) -> None:
    """At or beyond in every partition, where one that is not named is at its beginning."""
    whole = {
        number: (one.get(number, BEGINNING), other.get(number, BEGINNING)) for number in one | other
    }
    assert covers(one, other) is all(mine >= theirs for mine, theirs in whole.values())


@given(positions, numbers, places)
def test_moving(position: dict[int, tuple[int, int]], number: int, place: tuple[int, int]) -> None:
    """A step is in one partition."""
    ids = Ids(position)
    ids.move(number, place)
    assert decode(ids.text) == position | {number: place}


@pytest.mark.parametrize("text", ["", "x", "1", "1.2", "1.2.x", "-1.0.0", "0.-1.0", f"0.{2**63}.0"])
def test_nonsense(text: str) -> None:
    """Ids that no stream gave out are refused."""
    with pytest.raises(InvalidPosition):
        decode(text)
