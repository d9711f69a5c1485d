"""Graphs by their versions: how their runs end, how long they take, and their cost.

Runs come from their rows, found by when they ended; minutes and nodes from the totals of the tally.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import asyncpg
from pydantic import BaseModel

from execstream.dashboard.reads.kept_answers import Kept
from execstream.storage.reads.costs import COST

LOOK_BACK = timedelta(hours=24)
MINUTES = 60
NODE_DAYS = 7
MOST_VERSIONS = 2_000  # of all graphs together: producers choose the ids
MOST_NODES = 200
KEPT_FOR = 5.0  # seconds an answer is good for


class GraphVersion(BaseModel):
    """Runs of a version of a graph that ended within 24 hours. `ended`: COMPLETED or FAILED;
    durations in seconds, from start to end; `cost` in cents, without dry runs.
    """

    graph_id: str
    graph_version: int
    ended: int
    failed: int
    terminated: int
    error_rate: float | None
    p50: float | None
    p95: float | None
    cost: int
    users: int


class GraphFigures(BaseModel):
    """A graph with its versions, the newest first. `minutes`: [minute, ended, failed] of the last
    hour, of all versions, the newest last.
    """

    graph_id: str
    versions: list[GraphVersion]
    minutes: list[tuple[datetime, int, int]]


class NodeFigures(BaseModel):
    """Steps of a node of a graph, of all versions, in the last 7 days; `mean` in milliseconds."""

    node_id: str
    ended: int
    failed: int
    caller_failed: int
    cascaded: int
    mean: float | None
    cost: int


_VERSIONS = f"""
select graph_id, graph_version, count(*) filter (where status <> 'TERMINATED') as ended,
       count(*) filter (where status = 'FAILED') as failed,
       count(*) filter (where status = 'TERMINATED') as terminated,
       percentile_cont(array[0.5, 0.95]) within group (order by seconds) as durations,
       sum(cost) as cost, count(distinct user_id) as users
  from (select graph_id, graph_version, user_id, status,
               extract(epoch from ended_at - started_at)::float8 as seconds,
               case when dry_run then 0 else {COST} end as cost
          from graph_execution
         where ended_at >= $1 and ended_at <= $2 and not is_deleted
           and status in ('COMPLETED', 'FAILED', 'TERMINATED')) as ended
 group by graph_id, graph_version order by count(*) desc, graph_id, graph_version desc limit $3
"""
_MINUTES = """
select graph_id, minute, sum(completed + failed)::bigint, sum(failed)::bigint
  from graph_minute where minute > $1 and minute <= $2 and graph_id = any ($3)
 group by 1, 2
"""
_NODES = """
select node_id, sum(ended)::bigint as ended, sum(failed)::bigint as failed,
       sum(caller_failed)::bigint as caller_failed, sum(cascaded)::bigint as cascaded,
       (sum(duration_ms) / nullif(sum(ended), 0))::float8 as mean, sum(cost) as cost
  from node_day where graph_id = $1 and day > $2
 group by node_id order by sum(failed) desc, sum(ended) desc, node_id limit $3
"""


class GraphReads:
    """Reads of one server."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._all = Kept(KEPT_FOR, self._read)

    async def all(self) -> list[GraphFigures]:
        """Graphs of which a run ended within 24 hours, by id, with the MOST_VERSIONS versions of
        which the most runs did.
        """
        return await self._all.get()

    async def nodes(self, graph_id: str) -> list[NodeFigures]:
        """Nodes of a graph, the most failures first; MOST_NODES at most."""
        first = datetime.now(UTC).date() - timedelta(days=NODE_DAYS)
        rows = await self._db.fetch(_NODES, graph_id, first, MOST_NODES)
        return [NodeFigures(**row) for row in rows]

    async def _read(self) -> list[GraphFigures]:
        now = datetime.now(UTC)
        versions: dict[str, list[GraphVersion]] = defaultdict(list)
        rows = await self._db.fetch(_VERSIONS, now - LOOK_BACK, now, MOST_VERSIONS)
        for row in sorted(rows, key=lambda row: (row["graph_id"], -row["graph_version"])):
            versions[row["graph_id"]].append(_version(row))
        last = now.replace(second=0, microsecond=0)
        times = [last - timedelta(minutes=ago) for ago in reversed(range(MINUTES))]
        minutes: dict[str, dict[datetime, tuple[int, int]]] = defaultdict(dict)
        first = times[0] - timedelta(minutes=1)
        for row in await self._db.fetch(_MINUTES, first, last, list(versions)):
            graph_id, minute, ended, failed = row
            minutes[graph_id][minute] = (ended, failed)
        return [
            GraphFigures(
                graph_id=graph_id,
                versions=some,
                minutes=[(time, *minutes[graph_id].get(time, (0, 0))) for time in times],
            )
            for graph_id, some in versions.items()
        ]


def _version(row: asyncpg.Record) -> GraphVersion:
    p50, p95 = row["durations"] or (None, None)
    ended, failed = row["ended"], row["failed"]
    return GraphVersion(
        graph_id=row["graph_id"],
        graph_version=row["graph_version"],
        ended=ended,
        failed=failed,
        terminated=row["terminated"],
        error_rate=failed / ended * 100 if ended else None,
        p50=p50,
        p95=p95,
        cost=row["cost"],
        users=row["users"],
    )
