"""Cursors: the position of a subscriber in the events, partition by partition.

A place is the (offset, index) of the next event: everything with a smaller source was delivered.
The commits of a partition follow one another, so nothing ever appears before a place that was
reached.
"""

from collections.abc import Mapping

from execstream.streams.errors import Fatal
from execstream.streams.events import SourceOffset

Position = Mapping[int, SourceOffset]
"""Places by partition; a partition that is not in it is at its beginning."""

BEGINNING: SourceOffset = (0, 0)


class InvalidPosition(Fatal):
    """A text that no stream ever gave out as an id."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:200]!r} is not an id of this stream: pass the last id that was received, or "
            "none to start."
        )


def covers(position: Position, other: Position) -> bool:
    """Return whether `position` is at or beyond `other` in every partition."""
    return all(position.get(number, BEGINNING) >= place for number, place in other.items())


def encode(position: Position) -> str:
    """The position as an id of server-sent events."""
    return Ids(position).text


def decode(text: str) -> dict[int, SourceOffset]:
    """The position that `encode` made a text of. Raises InvalidPosition."""
    position = {}
    try:
        for part in text.split("~") if text != _NOWHERE else ():
            number, offset, index = map(int, part.split("."))
            position[number] = (offset, index)
    except ValueError:
        raise InvalidPosition(text) from None
    if any(not _fits(number, place) for number, place in position.items()):
        raise InvalidPosition(text)
    return position


class Ids:
    """Ids along a way, of which each step is in one partition."""

    def __init__(self, position: Position) -> None:
        self._parts = {number: _part(number, place) for number, place in sorted(position.items())}

    def move(self, number: int, place: SourceOffset) -> None:
        """Be at `place` in a partition."""
        self._parts[number] = _part(number, place)

    @property
    def text(self) -> str:
        """The id of where we are."""
        return "~".join(self._parts.values()) or _NOWHERE


_NOWHERE = "0"


def _part(number: int, place: SourceOffset) -> str:
    return f"{number}.{place[0]}.{place[1]}"


def _fits(number: int, place: SourceOffset) -> bool:
    """Return whether Postgres can compare with it."""
    return 0 <= number < 2**31 and 0 <= place[0] < 2**63 and 0 <= place[1] < 2**31
