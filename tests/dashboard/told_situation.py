"""Figures of the first view and of lists of failed runs, beside the counts of the rows."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from tests.dashboard.counted_rows import Json, Step, Told, Witness, counted

_RUNS = """
select graph_id, graph_version, user_id, status from graph_execution
 where ended_at >= $1 and ended_at <= $2 and status in ('COMPLETED', 'FAILED')
"""


async def subjects(it: Witness) -> Told:
    """Blocks with a failure or a cost of the hour; graphs and users with a failed run."""
    told = await it.get("/v1/now")
    start, now = datetime.fromisoformat(told["start"]), datetime.now(UTC)
    failing, spending = {}, {}
    for name, steps in (await it.steps()).items():
        within = [one for one in steps if one.is_over and start <= one.minute <= now]
        counts = counted(within)
        if failed := counts.failed - counts.caller_failed:
            failing[name] = (counts.ended, failed)
        if cost := sum(one.row["cost"] for one in within):
            spending[name] = cost
    runs: dict[tuple[Json, ...], list[bool]] = defaultdict(list)
    for graph, version, user, status in await it.place.db.fetch(_RUNS, start, now):
        for key in ((graph, version), (user,)):
            runs[key].append(status == "FAILED")
    own = told["failing"]
    return (
        {one["block_id"]: (one["ended"], one["failed"]) for one in own["blocks"]},
        {one["block_id"]: one["cost"] for one in told["spending"]["blocks"]},
        {(one["graph_id"], one["graph_version"]): _counts(one) for one in own["graphs"]}
        | {(one["user_id"],): _counts(one) for one in own["users"]},
    ), (failing, spending, {key: (len(some), sum(some)) for key, some in runs.items() if any(some)})


def _counts(one: Json) -> tuple[int, int]:
    return one["ended"], one["failed"]


async def error_families(it: Witness) -> Told:
    """One for each block that fails, since its errors are alike."""
    told = {
        one["block_id"]: (one["failures"], one["runs"], one["users"])
        for one in (await it.get("/v1/now"))["errors"]
    }
    rows = {}
    for name, steps in (await it.steps()).items():
        failed = [step for step in steps if step.has_failed]
        if failed:
            rows[name] = (len(failed), len({step.row["run"] for step in failed}), 1)
    return told, rows


async def run_reasons(it: Witness) -> Told:
    """Of the last failing block of a run, all failures."""
    failed: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for name, steps in (await it.steps()).items():
        for step in steps:
            if step.has_failed:
                failed[step.row["run"], name].append(step)
    runs = sorted({run for run, _ in failed})[:50]
    listed = await it.listed("/v1/executions/reasons", graph_exec_id=runs)
    told = {one["graph_exec_id"]: one["failures"] for one in listed}
    blocks = {one["graph_exec_id"]: one["block_id"] for one in listed}
    return told, {run: len(failed[run, blocks.get(run, "")]) for run in runs}


_ENDED = """
select graph_id, graph_version, user_id, status,
       extract(epoch from ended_at - started_at)::float8 as seconds,
       coalesce((stats ->> 'cost')::bigint, 0) as cost
  from graph_execution where ended_at >= $1 and ended_at <= now()
"""


async def graph_versions(it: Witness) -> Told:
    told = {}
    for graph in await it.listed("/v1/graphs/figures"):
        for one in graph["versions"]:
            told[one["graph_id"], one["graph_version"]] = (
                *(one["ended"], one["failed"], one["terminated"], one["error_rate"]),
                *(one["p50"], one["p95"], one["users"], one["cost"]),
            )
    runs = defaultdict(list)
    for row in await it.place.db.fetch(_ENDED, datetime.now(UTC) - timedelta(hours=24)):
        runs[row["graph_id"], row["graph_version"]].append(row)
    rows = {}
    for key, some in runs.items():
        by_status = Counter(row["status"] for row in some)
        ended = by_status["COMPLETED"] + by_status["FAILED"]
        took = sorted(row["seconds"] for row in some)
        rows[key] = (
            *(ended, by_status["FAILED"], by_status["TERMINATED"]),
            pytest.approx(by_status["FAILED"] / ended * 100) if ended else None,
            *(pytest.approx(_between(took, share)) for share in (0.5, 0.95)),
            len({row["user_id"] for row in some}),
            sum(row["cost"] for row in some),
        )
    return told, rows


def _between(values: list[float], share: float) -> float:
    """The quantile, interpolated."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


_MOVES = """
select g.graph_id, date_trunc('minute', j.at), count(*), count(*) filter (where j.status = 'FAILED')
  from journal j join graph_execution g on g.id = j.graph_exec_id
 where j.node_exec_id is null and j.status in ('COMPLETED', 'FAILED')
   and j.at > now() - interval '59 minutes' and j.at <= now() group by 1, 2
"""


async def _minutes(it: Witness, told: Json) -> Told:
    """Minutes with an end of a run."""
    rows = {
        (graph, minute): [ended, failed]
        for graph, minute, ended, failed in await it.place.db.fetch(_MOVES)
    }
    return {
        (one["graph_id"], datetime.fromisoformat(minute)): [ended, failed]
        for one in told
        for minute, ended, failed in one["minutes"]
        if ended
    }, rows


async def graphs(it: Witness) -> Told:
    return await _minutes(it, await it.listed("/v1/graphs/figures"))


async def one_graph(it: Witness) -> Told:
    listed = await it.listed("/v1/graphs/figures")
    ids = [one["graph_id"] for one in listed]
    return await _minutes(it, [await it.get("/v1/graph", graph_id=one) for one in ids])


async def nodes(it: Witness) -> Told:
    """Steps by node; skewed ones are of a day that may not have come."""
    told: Counter[tuple[str, str]] = Counter()
    for graph in await it.listed("/v1/graphs/figures"):
        for one in (await it.get("/v1/graph", graph_id=graph["graph_id"]))["nodes"]:
            for name in ("ended", "failed", "caller_failed", "cascaded"):
                told[one["node_id"], name] += one[name]
            told[one["node_id"], "ms"] += round((one["mean"] or 0) * one["ended"])
            told[one["node_id"], "cost"] += one["cost"]
    rows: Counter[tuple[str, str]] = Counter()
    for steps in (await it.steps()).values():
        for step in steps:
            node = step.row["node_id"]
            for name, count in counted([step])._asdict().items():
                if name in ("ended", "failed", "caller_failed", "cascaded"):
                    rows[node, name] += count
            if step.has_ended and step.row["started_time"]:
                ran = step.row["ended_time"] - step.row["started_time"]
                rows[node, "ms"] += ran // timedelta(milliseconds=1)
            if step.is_over:
                rows[node, "cost"] += step.row["cost"]
    return +told, +rows
