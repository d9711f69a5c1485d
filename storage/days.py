"""Partitions of `node_execution` and `journal` by day: made when they are first needed."""

from collections.abc import Collection
from datetime import date, datetime, timedelta

import asyncpg

from storage.effects import ensure_day

# Days around the time of a record that get partitions of their own.
_OLDEST, _NEWEST = timedelta(days=40), timedelta(days=2)


class Days:
    """Remembers what was made."""

    def __init__(self) -> None:
        self._made: set[date] = set()

    async def ensure(
        self, connection: asyncpg.Connection, days: Collection[date], now: datetime
    ) -> None:
        """Give partitions to those of `days` that are near `now`; the default partition takes all
        others."""
        today = now.date()
        for day in set(days) - self._made:
            if today - _OLDEST <= day <= today + _NEWEST:
                await ensure_day(connection, day)
                self._made.add(day)
