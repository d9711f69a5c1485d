"""Helpers that all reads share: optional conditions, ids as callers spell them, snapshots."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg


class Where:
    """The conditions of a statement, as far as the caller asked for them, and its arguments."""

    def __init__(self, *conditions: str) -> None:
        self.args: list[object] = []
        self._conditions = list(conditions)

    def arg(self, value: object) -> str:
        """The placeholder of one more argument."""
        self.args.append(value)
        return f"${len(self.args)}"

    def require(self, condition: str) -> None:
        """Add a condition as it is."""
        self._conditions.append(condition)

    def add(self, condition: str, value: object) -> None:
        """Add `condition`, in which `{}` stands for `value`; None adds nothing."""
        if value is not None:
            self._conditions.append(condition.format(self.arg(value)))

    def add_id(self, condition: str, text: str | None) -> None:
        """Ask for an id; one that is not a UUID is queried as well, and not found."""
        if text is not None:
            self._conditions.append(condition.format(self.arg(parse_id(text))))

    def add_any(self, condition: str, values: Sequence[str] | None) -> None:
        """Ask for one of `values`; as in the original, an empty list asks for nothing."""
        self.add(condition, list(map(str, values)) if values else None)

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def __str__(self) -> str:
        return " and ".join(self._conditions) or "true"


def parse_id(text: str) -> UUID | None:
    """The id, or None for an invalid one: `id = NULL` is true of no row."""
    try:
        return UUID(text)
    except ValueError:
        return None


def at_least_one(**values: int) -> None:
    """ValueError for the first of `values` that is less."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be 1 or more.")


@asynccontextmanager
async def snapshot(db: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection on which all statements see the tables as of the first of them."""
    async with (
        db.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection
