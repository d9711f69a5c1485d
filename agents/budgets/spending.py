"""Costs that budgets are judged by, and the runs to stop.

"Today" is the UTC day of Postgres' clock. Costs are committed with the offset of the tally, so each
is in a sum once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import asyncpg

from execstream.streams.totals.budgets import WARN_AT, Budget, Per, Spending

MOST_STOPPED = 1_000  # runs of a user or a graph at a time; the next look finds the others

_LIVE = "g.status in ('INCOMPLETE', 'QUEUED', 'RUNNING', 'REVIEW') and not g.is_deleted"


# By the index of live runs, or by the ids of runs.
_RUNS = f"""
select g.id::text, g.graph_id, g.user_id, {_LIVE}, sum(s.cost)
  from graph_execution g join spending s on s.per = 'run' and s.subject = g.id::text
 where {{chosen}}
 group by g.id having sum(s.cost) >= $1
"""
_ALL_RUNS = _RUNS.format(chosen=_LIVE)
_SOME_RUNS = _RUNS.format(chosen="g.id = any($2::uuid[])")
# By the primary key, which begins with the day.
_DAYS = """
select subject, sum(cost) from spending where day = $1 and per = $2 {chosen}
 group by subject having sum(cost) >= $3
"""
_ALL_OF_DAY = _DAYS.format(chosen="")
_SOME_OF_DAY = _DAYS.format(chosen="and subject = any($4)")

Subjects = Mapping[Per, Iterable[str]]


async def load_spending(
    connection: asyncpg.Connection,
    today: date,
    budgets: Sequence[Budget],
    subjects: Subjects | None = None,
) -> list[Spending]:
    """Return the costs that may be of concern to one of `budgets`: those of today and of live runs,
    or those of `subjects`, ended runs among them.
    """
    least: dict[Per, Any] = {}
    for budget in budgets:
        limit = budget.cost * WARN_AT
        least[budget.per] = min(limit, least.get(budget.per, limit))
    found: list[Spending] = []
    for per, limit in least.items():
        some = None if subjects is None else list(subjects.get(per, ()))
        if some == []:
            continue
        if per == Per.RUN:
            found += await _runs(connection, limit, some)
        else:
            found += await _days(connection, today, per, limit, some)
    return found


async def _runs(
    connection: asyncpg.Connection, least: Any, some: list[str] | None
) -> list[Spending]:
    if some is None:
        rows = await connection.fetch(_ALL_RUNS, least)
    else:
        rows = await connection.fetch(_SOME_RUNS, least, some)
    return [
        Spending(Per.RUN, run_id, None, cost, graph_id, user_id, is_live=is_live)
        for run_id, graph_id, user_id, is_live, cost in rows
    ]


async def _days(
    connection: asyncpg.Connection, today: date, per: Per, least: Any, some: list[str] | None
) -> list[Spending]:
    if some is None:
        rows = await connection.fetch(_ALL_OF_DAY, today, per, least)
    else:
        rows = await connection.fetch(_SOME_OF_DAY, today, per, least, some)
    name = "user_id" if per == Per.USER_DAY else "graph_id"
    return [Spending(per, subject, today, cost, **{name: subject}) for subject, cost in rows]


# ---- runs to stop ----------------------------------------------------------------------------


class LiveRun(NamedTuple):
    """A run that has not ended; `stats` as JSON text; None where they are large."""

    id: str
    user_id: str
    partition: int
    stats: str | None


_LIVE_RUNS = f"""
select g.id::text, g.user_id, g.source_partition,
       case when g.stats is null then jsonb_build_object()::text
            when octet_length(g.stats::text) <= 1048576 then g.stats::text end
  from graph_execution g
 where {_LIVE} and not g.dry_run and {{subject}} = $1
 order by g.created_at desc, g.id desc limit {MOST_STOPPED}
"""
_STOPPABLE = {
    Per.RUN: _LIVE_RUNS.format(subject="g.id").replace("$1", "$1::text::uuid"),
    Per.USER_DAY: _LIVE_RUNS.format(subject="g.user_id"),
    Per.GRAPH_DAY: _LIVE_RUNS.format(subject="g.graph_id"),
}


async def load_live_runs(connection: asyncpg.Connection, spending: Spending) -> list[LiveRun]:
    """Return the live runs that the costs are of, dry runs left out."""
    rows = await connection.fetch(_STOPPABLE[spending.per], spending.subject)
    return [LiveRun(*row) for row in rows]


_APPLIED = """
select g.id::text
  from unnest($1::uuid[], $2::uuid[]) as asked(run, command)
  join graph_execution g on g.id = asked.run
  join journal j on j.graph_exec_id = g.id and j.command_id = asked.command
   and j.run_day = (g.created_at at time zone 'UTC')::date
"""


async def load_stopped(connection: asyncpg.Connection, commands: Mapping[str, str]) -> set[str]:
    """Return which of the runs (by id, with the id of a command) that command has stopped."""
    rows = await connection.fetch(_APPLIED, list(commands), list(commands.values()))
    return {row[0] for row in rows}


# ---- alerts of before ------------------------------------------------------------------------

_SEVERITIES = """
select subject, array_agg(severity) from alert
 where kind = 'budget' and closed_at is not null and subject = any($1) group by 1
"""


async def load_earlier(
    connection: asyncpg.Connection, subjects: Iterable[str]
) -> Mapping[str, set[str]]:
    """Return the severities of closed alerts, by subject."""
    earlier: dict[str, set[str]] = defaultdict(set)
    for subject, severities in await connection.fetch(_SEVERITIES, list(subjects)):
        earlier[subject] |= set(severities)
    return earlier
