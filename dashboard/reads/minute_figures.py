"""Blocks and graphs in one whole minute, and the use of budgets, for the metrics.

A read takes the rows of one minute by their primary key, and returns MOST subjects of each kind.
Blocks with the most failures come first, and graphs with the most failed runs. Nothing is read
before someone asks, and an answer is kept.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from execstream.dashboard.reads.kept_answers import Kept
from execstream.storage.reads.block_figures import IS_BUCKET, SOUND_COUNTS
from execstream.streams.totals.histogram import bucket_of, middle_of

SETTLED_FOR = 15  # seconds since the end of the minute: the totals are behind by one at most
KEPT_FOR = 5.0  # seconds an answer is good for
BUDGETS_FOR = 30.0  # seconds; of a budget per run, live runs are added up
MOST = 50  # blocks, graphs, budgets
MOST_NAME = 100  # characters of a name
OTHER = "other"  # id of all others together
BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)  # seconds

STATUSES = ("incomplete", "queued", "running", "completed", "terminated", "failed", "review")


class BlockOfMinute(NamedTuple):
    """Steps of a block in the minute; `cost` in cents. `durations`: steps up to
    each of BOUNDS and not to the one before, and those beyond the last."""

    block_id: str
    name: str
    added: float
    ended: float
    failed: float
    caller_failed: float
    cascaded: float
    terminated: float
    cost: float
    error_classes: Mapping[str, float]
    durations: Sequence[float]


class GraphOfMinute(NamedTuple):
    """Moves of a graph's runs in the minute, by the status they moved to."""

    graph_id: str
    name: str
    runs: Mapping[str, float]


class BudgetUse(NamedTuple):
    """A budget with the greatest cost that counts for it, as a part of its limit."""

    budget_id: str
    per: str
    used: float


class MinuteFigures(NamedTuple):
    """The figures of the minute that begins at `minute`; budgets are those of now."""

    minute: datetime
    blocks: list[BlockOfMinute]
    graphs: list[GraphOfMinute]
    budgets: list[BudgetUse]


def _limit(seconds: float) -> int:
    """The first bucket whose middle is beyond a duration."""
    bucket = bucket_of(round(seconds * 1_000_000))
    return bucket if middle_of(bucket) > seconds * 1_000 else bucket + 1


_LIMITS = [_limit(seconds) for seconds in BOUNDS]

_MINUTE = "select date_trunc('minute', now() - make_interval(secs => 60 + $1))"
_SUMS = ["added", "ended", "failed", "caller_failed", "cascaded", "terminated", "cost"]
_BLOCKS = f"""
with figures as (
    select block_id, {", ".join(f"sum({name}) as {name}" for name in _SUMS)}
      from block_minute where minute = $1 group by block_id),
ranked as (
    select *, row_number() over (order by failed desc, ended desc, added desc, block_id) as place
      from figures),
shown as (
    select case when place <= $2 then block_id else $3 end as block_id,
           {", ".join(f"sum({name})::float8 as {name}" for name in _SUMS)}
      from ranked group by 1)
select shown.*, left(coalesce(b.name, ''), {MOST_NAME}) as name
  from shown left join block b on b.id = shown.block_id
"""
_SHOWN = "case when block_id = any ($2) then block_id else $3 end"
_CLASSES = f"""
select {_SHOWN}, error_class, sum(count::float8)
  from block_minute,
       jsonb_each_text({SOUND_COUNTS.format("error_classes")}) as each (error_class, count)
 where minute = $1 and failed + ended > 0 group by 1, 2
"""
# $4: buckets after the last one up to each bound, ascending.
_DURATIONS = f"""
select {_SHOWN}, width_bucket(bucket::int, $4::int[]), sum(count::float8)
  from block_minute, jsonb_each_text({SOUND_COUNTS.format("histogram")}) as each (bucket, count)
 where minute = $1 and {IS_BUCKET} group by 1, 2
"""
_GRAPHS = f"""
with figures as (
    select graph_id, {", ".join(f"sum({name}) as {name}" for name in STATUSES)}
      from graph_minute where minute = $1 group by graph_id),
ranked as (
    select *, row_number() over (
               order by failed desc, completed + terminated + queued desc, graph_id) as place
      from figures),
shown as (
    select case when place <= $2 then graph_id else $3 end as graph_id,
           {", ".join(f"sum({name})::float8 as {name}" for name in STATUSES)}
      from ranked group by 1)
select shown.*, left(coalesce(newest.name, ''), {MOST_NAME}) as name
  from shown left join lateral (
    select name from graph where id = shown.graph_id order by version desc limit 1
  ) newest on true
"""
# Of runs by the index of live ones, of days by the primary key.
_BUDGETS = """
with live as materialized (
    select id::text as run, graph_id, user_id from graph_execution
     where status in ('INCOMPLETE', 'QUEUED', 'RUNNING', 'REVIEW') and not is_deleted
       and exists (select from budget where per = 'run')),
spent as materialized (
    select 'run' as per, live.graph_id, live.user_id, sum(s.cost) as cost
      from live join spending s on s.per = 'run' and s.subject = live.run
     group by live.run, live.graph_id, live.user_id
    union all
    select per, case when per = 'graph_day' then subject end,
           case when per = 'user_day' then subject end, sum(cost)
      from spending where day = (now() at time zone 'UTC')::date and per <> 'run'
       and exists (select from budget where per <> 'run')
     group by per, subject)
select b.id, b.per, coalesce(max(spent.cost), 0)::float8 / greatest(b.cost, 1) as used
  from budget b left join spent on spent.per = b.per
   and (b.graph_id is null or b.graph_id = spent.graph_id)
   and (b.user_id is null or b.user_id = spent.user_id)
 group by b.id, b.per, b.cost order by used desc, b.id limit $1
"""


class MinuteReads:
    """Reads of one server; an answer is kept for a while."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._kept = Kept(KEPT_FOR, self._read)
        self._budgets = Kept(BUDGETS_FOR, self._read_budgets)

    async def get(self) -> MinuteFigures:
        """The figures of the newest minute that has been over for SETTLED_FOR seconds."""
        return await self._kept.get()

    async def _read(self) -> MinuteFigures:
        budgets = await self._budgets.get()
        async with (
            self._db.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            minute: datetime = await connection.fetchval(_MINUTE, SETTLED_FOR)
            blocks = await _read_blocks(connection, minute)
            graphs = await connection.fetch(_GRAPHS, minute, MOST, OTHER)
        return MinuteFigures(minute, blocks, [*map(_graph, graphs)], budgets)

    async def _read_budgets(self) -> list[BudgetUse]:
        return [BudgetUse(*row) for row in await self._db.fetch(_BUDGETS, MOST)]


async def _read_blocks(connection: asyncpg.Connection, minute: datetime) -> list[BlockOfMinute]:
    rows = await connection.fetch(_BLOCKS, minute, MOST, OTHER)
    of = (minute, [row["block_id"] for row in rows], OTHER)
    classes: dict[str, dict[str, float]] = defaultdict(dict)
    for block_id, error_class, count in await connection.fetch(_CLASSES, *of):
        classes[block_id][error_class] = count
    durations = {row["block_id"]: [0.0] * (len(BOUNDS) + 1) for row in rows}
    for block_id, place, count in await connection.fetch(_DURATIONS, *of, _LIMITS):
        durations[block_id][place] = count
    return [
        BlockOfMinute(
            **row, error_classes=classes[row["block_id"]], durations=durations[row["block_id"]]
        )
        for row in rows
    ]


def _graph(row: asyncpg.Record) -> GraphOfMinute:
    runs = {status.upper(): row[status] for status in STATUSES}
    return GraphOfMinute(row["graph_id"], row["name"], runs)
