"""Partitions of `node_execution` and `journal` by day: made when the first run of a day begins."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import asyncpg

# Days around another one.
_OLDEST, _NEWEST = timedelta(days=40), timedelta(days=2)


class Days:
    """Remembers what was made."""

    def __init__(self) -> None:
        self._made: set[date] = set()

    async def ensure(
        self, connection: asyncpg.Connection, begun: Collection[tuple[date, date]]
    ) -> None:
        """Give partitions to days that runs have `begun` on, where they are near the day with which
        they come, when Kafka had the record; the default partition takes all others.

        And where they are near today: a day of which the default partition has a row goes there
        for good, and a producer whose clock is wrong must not bring that about.
        """
        today = datetime.now(UTC).date()
        for day, received in begun:
            if day not in self._made and (_is_near(day, received) or _is_near(day, today)):
                await ensure_day(connection, day)
                self._made.add(day)


async def ensure_day(connection: asyncpg.Connection, day: date) -> None:
    """Create the partitions of `day`.

    A day with rows in the default partition keeps them there, together with its later rows.
    """
    with suppress(asyncpg.CheckViolationError):  # the default partition holds rows of the day
        await connection.execute("select ensure_day($1)", day)


def _is_near(day: date, other: date) -> bool:
    return -_OLDEST <= day - other <= _NEWEST
