"""Costs by day and errors by hour, from the totals of the tally."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import asyncpg
from pydantic import BaseModel

from execstream.dashboard.reads.kept_answers import Kept

KEPT_FOR = 10.0  # seconds an answer is good for
MOST_ROWS = 100  # of an answer


class Spender(StrEnum):
    """The subjects of which costs are added up."""

    USER = "user"
    GRAPH = "graph"
    BLOCK = "block"
    DAY = "day"


class CostRow(BaseModel):
    """Costs of a user, graph, block or day, which `id` names, in cents; `ended` and `failed` are
    steps; `days`: the cost of each day of the answer, in their order.
    """

    id: str
    cost: int
    tokens: int
    ended: int
    failed: int
    days: list[int]


class Costs(BaseModel):
    """Days of UTC, the last one today, and the dearest first; of days the newest first. `total`
    counts those that are not listed, too.
    """

    by: Spender
    days: list[date]
    total: int
    data: list[CostRow]
    as_of: datetime


class ErrorRow(BaseModel):
    """Failed steps of a block in runs of a version of a graph, by class. `hours`: failures in each
    hour of the answer, in their order.
    """

    error_class: str
    block_id: str
    graph_id: str
    graph_version: int
    failures: int
    runs: int
    hours: list[int]


class Errors(BaseModel):
    """Whole hours of UTC, the last one running, and the most failures first. `total` counts those
    that are not listed, too.
    """

    hours: list[datetime]
    total: int
    data: list[ErrorRow]
    as_of: datetime


_SUMS = """sum(cost)::bigint as cost, sum(tokens)::bigint as tokens, sum(ended)::bigint as ended,
    sum(failed)::bigint as failed"""
_COSTS = {
    Spender.USER: f"select user_id as id, day, {_SUMS} from user_day where day >= $1 group by 1, 2",
    Spender.GRAPH: (
        f"select graph_id as id, day, {_SUMS} from node_day where day >= $1 group by 1, 2"
    ),
    Spender.BLOCK: f"""
        select block_id as id, (minute at time zone 'UTC')::date as day, {_SUMS} from block_minute
         where minute >= $1::date::timestamp at time zone 'UTC' group by 1, 2""",
    Spender.DAY: f"select day::text as id, day, {_SUMS} from user_day where day >= $1 group by day",
}
_ERRORS = """
select e.class as error_class, e.block_id, r.graph_id, r.graph_version, e.hour,
       sum(e.failures)::bigint as failures, count(distinct e.graph_exec_id) as runs
  from run_error e join graph_execution r on r.id = e.graph_exec_id and not r.is_deleted
 where e.hour >= $1
 group by grouping sets ((1, 2, 3, 4, 5), (1, 2, 3, 4))
"""


class SpansOfTotals:
    """Reads of one server; each answer is kept for a while."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._costs: dict[tuple[Spender, int], Kept[Costs]] = {}
        self._errors: dict[int, Kept[Errors]] = {}

    async def costs(self, by: Spender, days: int) -> Costs:
        """Costs of so many days of UTC."""
        kept = self._costs.setdefault(
            (by, days), Kept(KEPT_FOR, lambda: self._read_costs(by, days))
        )
        return await kept.get()

    async def errors(self, hours: int) -> Errors:
        """Failures of so many hours."""
        kept = self._errors.setdefault(hours, Kept(KEPT_FOR, lambda: self._read_errors(hours)))
        return await kept.get()

    async def _read_costs(self, by: Spender, number: int) -> Costs:
        now = datetime.now(UTC)
        days = [now.date() - timedelta(days=ago) for ago in reversed(range(number))]
        rows = await self._db.fetch(_COSTS[by], days[0])
        found: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            if row["day"] <= days[-1]:
                found.setdefault(row["id"], []).append(row)
        all_ = [_cost_row(name, some, days) for name, some in found.items()]
        if by is Spender.DAY:
            all_.sort(key=lambda one: one.id, reverse=True)
        else:
            all_.sort(key=lambda one: (-one.cost, one.id))
        total = sum(one.cost for one in all_)
        return Costs(by=by, days=days, total=total, data=all_[:MOST_ROWS], as_of=now)

    async def _read_errors(self, number: int) -> Errors:
        now = datetime.now(UTC)
        last = now.replace(minute=0, second=0, microsecond=0)
        hours = [last - timedelta(hours=ago) for ago in reversed(range(number))]
        found: dict[tuple[str, ...], ErrorRow] = {}
        places = {hour: place for place, hour in enumerate(hours)}
        for row in await self._db.fetch(_ERRORS, hours[0]):
            key = tuple(row[:4])
            one = found.get(key)
            if one is None:
                empty = {"failures": 0, "runs": 0, "hours": [0] * number}
                names = ("error_class", "block_id", "graph_id", "graph_version")
                one = found[key] = ErrorRow(**dict(zip(names, key, strict=True)), **empty)
            if row["hour"] is None:
                one.failures, one.runs = row["failures"], row["runs"]
            elif row["hour"] in places:
                one.hours[places[row["hour"]]] = row["failures"]
        all_ = sorted(found.values(), key=lambda one: -one.failures)
        total = sum(one.failures for one in all_)
        return Errors(hours=hours, total=total, data=all_[:MOST_ROWS], as_of=now)


def _cost_row(name: str, rows: Sequence[asyncpg.Record], days: Sequence[date]) -> CostRow:
    by_day = {row["day"]: row["cost"] for row in rows}
    sums = {sum_: sum(row[sum_] for row in rows) for sum_ in ("cost", "tokens", "ended", "failed")}
    return CostRow(id=name, **sums, days=[by_day.get(day, 0) for day in days])
