"""JSON of any size from Postgres, as it is stored: small values in their rows, large ones by
themselves. A fetch of many rows holds little, and no more than one large value is in memory.

The connections hand JSON over as text.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from execstream.streams import exact_json
from execstream.streams.shortening import left_out

INLINE = 64 * 1024  # bytes of JSON that come in a row
ROWS_AT_A_TIME = 50  # of a cursor
PIECE = 64 * 1024  # characters that are encoded at a time
SNAPSHOT_VALUE = 1024 * 1024  # bytes; a snapshot leaves larger values out


def documents(*columns: str) -> str:
    """SQL for JSON columns, each as `inline`, and as `has_…` whether it is not null."""
    return ", ".join(
        f"{inline(column)} as {column}, {column} is not null as has_{column}" for column in columns
    )


def inline(column: str) -> str:
    """SQL for the text of a JSON column, or null when it is large or null."""
    return f"case when octet_length({column}::text) <= {INLINE} then {column}::text end"


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value.

    Attributes:
        text: its JSON; None: it is large, or null, and `statement` with `args` selects it.
        place: where it is in the answer, for a list of values that were left out.
        entry: a statement, with `args`, of the `seq` of its entry in the journal; empty where
            `place` has that.
    """

    text: str | None
    statement: str
    args: Sequence[object]
    place: dict[str, Any]
    entry: str = ""

    async def load(self, connection: asyncpg.Connection) -> str:
        """Return the whole text."""
        if self.text is not None:
            return self.text
        found: str | None = await connection.fetchval(self.statement, *self.args)
        return "null" if found is None else found

    def part(self, name: str, text: str | None = None) -> "Value":
        """Return a member of this object; `text` is its text, or None if unknown."""
        place = self.place | {"pin": name}
        statement = f"select ({self.statement}) -> '{name}'"
        return Value(text, statement, self.args, place, self.entry)

    def without_text(self, most: int) -> "Value":
        """Return the value without a text of more characters, where a statement selects it."""
        is_short = self.text is None or len(self.text) <= most or not self.args
        return self if is_short else replace(self, text=None)


@dataclass(slots=True)
class Limit:
    """The size beyond which values are left out, and those that were."""

    most: int | None = None
    left_out: list[dict[str, Any]] = field(default_factory=list)

    async def parts(self, connection: asyncpg.Connection, value: Value) -> AsyncIterator[bytes]:
        """Yield the JSON of a value, or a marker in its place."""
        if value.text is None and self.most is not None:
            size = await connection.fetchval(_SIZE.format(value.statement), *value.args)
            if size is not None and size > self.most:
                place = value.place | {"bytes": size}
                if value.entry:
                    place["seq"] = await connection.fetchval(value.entry, *value.args)
                self.left_out.append(place)
                yield exact_json.encode(left_out(size, "bytes"))
                return
        text = await value.load(connection)
        for part in encoded(text):
            yield part

    async def object(
        self, connection: asyncpg.Connection, items: Sequence[tuple[str, Value]]
    ) -> AsyncIterator[bytes]:
        """Yield a JSON object."""
        before = b"{"
        for name, value in items:
            yield before + exact_json.encode(name) + b":"
            async for part in self.parts(connection, value):
                yield part
            before = b","
        yield b"{}" if before == b"{" else b"}"

    async def lists(
        self, connection: asyncpg.Connection, items: AsyncIterator[tuple[str, Value]]
    ) -> AsyncIterator[bytes]:
        """Yield a JSON object of lists; values of a name come one after the other."""
        last: str | None = None
        index = 0
        async for name, value in items:
            if name == last:
                index += 1
                yield b","
            else:
                index = 0
                yield (b"{" if last is None else b"],") + exact_json.encode(name) + b":["
            last = name
            async for part in self.parts(
                connection, replace(value, place=value.place | {"index": index})
            ):
                yield part
        yield b"{}" if last is None else b"]}"


_SIZE = "select octet_length(({})::text)"


def encoded(text: str) -> Iterator[bytes]:
    """Encode a text piece by piece."""
    for begin in range(0, len(text), PIECE):
        yield text[begin : begin + PIECE].encode()


async def joined(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small parts to larger ones.

    A small answer is one part, which comes after everything was read.
    """
    held = bytearray()
    async for part in parts:
        held += part
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
