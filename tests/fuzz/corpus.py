"""Records on which the code once failed, in files: a line is an array of key and value.

Bytes are characters of the same number (Latin-1), so that JSON of ASCII stays readable.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from tests.hostile_commands import Record

FOLDER = Path(__file__).parent / "failures"

_decode = msgspec.json.Decoder(tuple[str | None, str]).decode


def read(file: Path) -> list[Record]:
    """The records of `file`, in order."""
    lines = map(_decode, file.read_bytes().splitlines())
    return [(None if key is None else _bytes(key), _bytes(value)) for key, value in lines]


def write(file: Path, records: Iterable[Record]) -> None:
    """Write `records` as a file of the corpus."""
    lines = [(None if key is None else _text(key), _text(value)) for key, value in records]
    file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def shrunk(records: Sequence[Record], fails: Callable[[Sequence[Record]], bool]) -> list[Record]:
    """The fewest records that halving finds to fail still, in their order."""
    left, size = list(records), len(records) // 2
    while size > 0:
        for begin in range(len(left) - size, -1, -size):
            without = left[:begin] + left[begin + size :]
            if without and fails(without):
                left = without
        size //= 2
    return left


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _text(data: bytes) -> str:
    return data.decode("latin-1")
