"""Blocks, versions of graphs, and users in the last hour, beside the day before it.

Steps of blocks come from the totals of the tally, runs of graphs and users from their rows, found
by when they ended. Every open page asks, so answers are kept.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from pydantic import BaseModel

from execstream.dashboard.reads.kept_answers import Kept
from execstream.storage.reads.costs import COST
from execstream.streams.totals.alert_rules import Counts
from execstream.streams.totals.unusual import excess, is_unusual, onset, usual_rate

WINDOW = timedelta(hours=1)
BEFORE = timedelta(hours=24)
MOST = 8  # subjects of a list
DEAR_TIMES = 3  # the usual cost
DEAR_PART = 0.05  # of the cost of all subjects

RECENT_FOR = 2.0  # seconds an answer is good for
BEFORE_FOR = 60.0

_HOURS_BEFORE = BEFORE // timedelta(hours=1)


class Subject(BaseModel):
    """A block, a version of a graph, or a user: the fields of the others are null.

    Of a block steps are counted, without those that failed by their caller's fault; of the others
    runs. `usual_rate` in percent: of the 24 hours before `start`, or that of all subjects for one
    that ended less than 20 then. `excess`: failures beyond it; `since`: the minute since which.
    `cost` in cents; `usual_cost`: the mean of an hour of the 24 before. `is_unusual`: certainly and
    by more than a few; `is_dear`: three times the usual cost, and a twentieth of all.
    """

    block_id: str | None = None
    graph_id: str | None = None
    graph_version: int | None = None
    user_id: str | None = None
    ended: int
    failed: int
    usual_rate: float
    excess: float
    is_unusual: bool
    since: datetime | None = None
    cost: int
    usual_cost: float
    is_dear: bool


class Subjects(BaseModel):
    """Subjects by kind, the first of which deserves a look first."""

    blocks: list[Subject]
    graphs: list[Subject]
    users: list[Subject]


class Unusual(NamedTuple):
    """The window begins at `start`. `failing`: most failures beyond the usual rate first;
    `spending`: most cents beyond the usual cost first.
    """

    start: datetime
    failing: Subjects
    spending: Subjects


class _Sums(NamedTuple):
    counts: Counts = Counts()
    cost: int = 0


_Key = tuple[Any, ...]
_SumsByKey = Mapping[_Key, _Sums]

# By the primary key, which begins with the minute. Sums of costs have no limit.
_BLOCKS = """
select block_id, sum(ended)::bigint, sum(failed - caller_failed)::bigint, sum(cost)
  from block_minute where minute >= $1 and minute < $2 group by 1
"""
_BLOCK_MINUTES = """
select block_id, minute, sum(ended)::bigint, sum(failed - caller_failed)::bigint
  from block_minute where minute >= $1 and block_id = any($2) group by 1, 2
"""
# Runs that ended, by the index of when they did; those of senders ahead of the clock are left out.
_RUNS = f"""
select {{key}}, count(*) filter (where status <> 'TERMINATED'),
       count(*) filter (where status = 'FAILED'),
       sum(case when dry_run then 0 else {COST} end)
  from graph_execution
 where ended_at >= $1 and ended_at < $2 and status in ('COMPLETED', 'FAILED', 'TERMINATED')
   and not is_deleted
 group by {{key}}
"""
_RUN_MINUTES = """
select {key}, date_trunc('minute', ended_at), count(*), count(*) filter (where status = 'FAILED')
  from graph_execution
 where ended_at >= $1 and ended_at <= now() and status in ('COMPLETED', 'FAILED')
   and not is_deleted and {first} = any($2)
 group by {key}, 2
"""


class _Kind(NamedTuple):
    """The columns of a subject's key, and the statements about it."""

    key: tuple[str, ...]
    sums: str
    minutes: str


def _of_runs(*key: str) -> _Kind:
    names = ", ".join(key)
    minutes = _RUN_MINUTES.replace("group by {key}, 2", f"group by {{key}}, {len(key) + 1}")
    return _Kind(key, _RUNS.format(key=names), minutes.format(key=names, first=key[0]))


_KINDS = {
    "blocks": _Kind(("block_id",), _BLOCKS, _BLOCK_MINUTES),
    "graphs": _of_runs("graph_id", "graph_version"),
    "users": _of_runs("user_id"),
}


class UnusualSubjects:
    """Reads of one server."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._before = Kept(BEFORE_FOR, self._read_before)
        self._now = Kept(RECENT_FOR, self._read)

    async def now(self) -> Unusual:
        """Subjects of the last hour: whole minutes and the running one."""
        return await self._now.get()

    async def _read_before(self) -> dict[str, _SumsByKey]:
        start = _start()
        return {
            name: await self._sums(kind, start - BEFORE, start) for name, kind in _KINDS.items()
        }

    async def _read(self) -> Unusual:
        start = _start()
        before = await self._before.get()
        failing, spending = {}, {}
        for name, kind in _KINDS.items():
            recent = await self._sums(kind, start, datetime.now(UTC))
            dear = DEAR_PART * sum(sums.cost for sums in recent.values())
            found = [_subject(kind, key, sums, before[name], dear) for key, sums in recent.items()]
            failing[name] = await self._with_onsets(kind, start, _most_failing(found))
            spending[name] = _dearest(found)
        return Unusual(start, Subjects(**failing), Subjects(**spending))

    async def _sums(self, kind: _Kind, start: datetime, end: datetime) -> _SumsByKey:
        size = len(kind.key)
        return {
            tuple(row[:size]): _Sums(Counts(row[size], row[size + 1]), int(row[size + 2]))
            for row in map(tuple, await self._db.fetch(kind.sums, start, end))
        }

    async def _with_onsets(
        self, kind: _Kind, start: datetime, subjects: list[Subject]
    ) -> list[Subject]:
        firsts = [getattr(subject, kind.key[0]) for subject in subjects]
        minutes: dict[_Key, dict[datetime, Counts]] = defaultdict(dict)
        for row in await self._db.fetch(kind.minutes, start, firsts):
            *key, minute, ended, failed = row
            minutes[tuple(key)][minute] = Counts(ended, failed)
        for subject in subjects:
            of_subject = minutes[tuple(getattr(subject, name) for name in kind.key)]
            subject.since = onset(of_subject, subject.usual_rate / 100)
        return subjects


def _start() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - WINDOW


def _subject(kind: _Kind, key: _Key, sums: _Sums, before: _SumsByKey, dear: float) -> Subject:
    own = before.get(key, _Sums())
    usual = usual_rate(own.counts, _overall(before))
    usual_cost = own.cost / _HOURS_BEFORE
    return Subject(
        **dict(zip(kind.key, key, strict=True)),
        ended=sums.counts.ended,
        failed=sums.counts.failed,
        usual_rate=usual * 100,
        excess=excess(sums.counts, usual),
        is_unusual=is_unusual(sums.counts, usual),
        cost=sums.cost,
        usual_cost=usual_cost,
        is_dear=sums.cost > max(dear, DEAR_TIMES * usual_cost),
    )


def _overall(sums: _SumsByKey) -> Counts:
    return Counts(
        sum(one.counts.ended for one in sums.values()),
        sum(one.counts.failed for one in sums.values()),
    )


def _most_failing(subjects: list[Subject]) -> list[Subject]:
    failing = [subject for subject in subjects if subject.failed]
    return sorted(failing, key=lambda one: (one.is_unusual, one.excess), reverse=True)[:MOST]


def _dearest(subjects: list[Subject]) -> list[Subject]:
    dear = [subject for subject in subjects if subject.cost > 0]
    return sorted(dear, key=lambda one: one.cost - one.usual_cost, reverse=True)[:MOST]
