"""Runs that an action of an operator is for: their number, and pages of them, newest first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import asyncpg

from execstream.storage.reads import cursors
from execstream.storage.reads.run_filters import RunFilters
from execstream.storage.reads.run_lists import NEWEST_FIRST
from execstream.streams.errors import Fatal
from execstream.streams.run_actions import RunAction, taken_statuses


class NoFilter(Fatal):
    """An action on all runs of all owners is not meant."""

    def __init__(self) -> None:
        super().__init__("Name at least one filter: an action on every run is not taken.")


class Target(NamedTuple):
    """A run that an action is for."""

    run_id: str
    user_id: str


async def count_targets(db: asyncpg.Pool, filters: RunFilters, action: RunAction) -> int:
    """The number of runs that `action` is for. Raises NoFilter."""
    meant = _meant(filters, action)
    if meant is None:
        return 0
    where = meant.where()
    total: int = await db.fetchval(
        f"select count(*) from graph_execution where {where}", *where.args
    )
    return total


async def find_targets(
    db: asyncpg.Pool, filters: RunFilters, action: RunAction, cursor: str | None, limit: int
) -> tuple[Sequence[Target], str | None]:
    """A page of these runs, newest first, and the cursor of the next one.

    A run is on one page at most, whatever happens to it in between. Raises NoFilter, InvalidCursor.
    """
    meant = _meant(filters, action)
    if meant is None:
        return [], None
    where = meant.where()
    if cursor is not None:
        created_at, run_id = cursors.decode(cursor)
        where.add(f"(created_at, id) < ({where.arg(created_at)}, {{}})", run_id)
    rows = await db.fetch(
        f"select id, user_id, created_at from graph_execution where {where} {NEWEST_FIRST}"
        f" limit {where.arg(limit + 1)}",
        *where.args,
    )
    page = rows[:limit]
    last = page[-1] if len(rows) > limit else None
    targets = [Target(str(row["id"]), row["user_id"]) for row in page]
    return targets, None if last is None else cursors.encode(last["created_at"], last["id"])


def _meant(filters: RunFilters, action: RunAction) -> RunFilters | None:
    """The filters with the statuses that `action` takes; None where these exclude each other."""
    if filters == RunFilters():
        raise NoFilter
    taken = taken_statuses(action)
    statuses = [one for one in taken if not filters.statuses or one in filters.statuses]
    return replace(filters, statuses=statuses) if statuses else None
