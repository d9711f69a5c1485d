"""Partitions of `node_execution` and `journal` by day: made when the first run of a day begins."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import asyncpg

# Days around another one.
_OLDEST, _NEWEST = timedelta(days=40), timedelta(days=2)

Begun = Mapping[tuple[date, date | None], int]
"""Runs that began, by their day and the day on which the broker appended their record (None where
it is unknown)."""


class Days:
    """The days with partitions. `wanted`: days that get partitions however far they are."""

    def __init__(self, wanted: Collection[date] = ()) -> None:
        self._wanted = frozenset(wanted)
        self._made: set[date] = set()

    async def ensure(self, connection: asyncpg.Connection, begun: Begun) -> None:
        """Give partitions to the days of `begun` that are near; the default partition takes all
        others, so that dates in commands bring no partition about."""
        for day, appended in begun:
            if day not in self._made and (day in self._wanted or is_near(day, appended)):
                await ensure_day(connection, day)
                self._made.add(day)


async def ensure_day(connection: asyncpg.Connection, day: date) -> None:
    """Create the partitions of `day`.

    Rows of the day in the default partition move there: of runs that were dated ahead. A day with
    more than 10,000 of them in a table, or 64 MiB, stays there as a whole.
    """
    with suppress(asyncpg.CheckViolationError):  # too many to be moved while writers wait
        await connection.execute("select ensure_day($1)", day)


_OWN_DAYS = """
select to_date(right(c.relname, 8), 'YYYYMMDD')
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = to_regclass(format('%I.journal', $1::text)) and c.relname ~ '_[0-9]{8}$'
"""


async def own_days(connection: asyncpg.Connection, schema: str) -> set[date]:
    """The days that have partitions of their own in `schema`; none where there is no such one."""
    return {row[0] for row in await connection.fetch(_OWN_DAYS, schema)}


def is_near(day: date, appended: date | None) -> bool:
    """Return whether a run of `day` whose record was appended on `appended` gets its day a
    partition. This machine's clock replaces an unknown append time: a producer's clock must not.
    """
    return -_OLDEST <= day - (appended or datetime.now(UTC).date()) <= _NEWEST


def far_dated(begun: Begun) -> int:
    """Count the runs that are not near."""
    return sum(count for (day, appended), count in begun.items() if not is_near(day, appended))
