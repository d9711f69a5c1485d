"""Figures from stored rows, from Kafka and from offsets, beside the counts of the rows."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from execstream.storage.reads.block_errors import get_block_error_stats
from execstream.streams.topics import COMMANDS
from tests.dashboard.counted_rows import CASCADES, SINCE, Json, Step, Told, Witness

OUTCOMES = ("applied", "duplicate", "refused", "dead", "quarantined")

_ERRORS = """
select block_id, count(*) as total_executions,
       count(*) filter (where status = 'FAILED') as failed_executions
  from node_execution where added_time >= $1 and added_time < $2 group by 1 order by 1
"""


async def block_errors(it: Witness) -> Told:
    end = datetime.now(UTC) + timedelta(minutes=1)
    asked = {"start": (end - SINCE).isoformat(), "end": end.isoformat(), "min_executions": 1}
    names = ("block_id", "total_executions", "failed_executions")
    told = [
        {name: one[name] for name in names}
        | {"right": one["error_rate"] == pytest.approx(_percent(one))}
        for one in await it.listed("/v1/blocks/errors", **asked)
    ]
    rows = [
        dict(row) | {"right": True} for row in await it.place.db.fetch(_ERRORS, end - SINCE, end)
    ]
    return sorted(told, key=lambda one: str(one["block_id"])), rows


def _percent(one: Mapping[str, Json]) -> float:
    return float(one["failed_executions"] / one["total_executions"] * 100)


async def block_error_stats(it: Witness) -> Told:
    end = datetime.now(UTC) + timedelta(minutes=1)
    told = {
        one.block_id: (one.total_executions, one.failed_executions)
        for one in await get_block_error_stats(it.reads, end - SINCE, end, 1)
    }
    rows = await it.place.db.fetch(_ERRORS, end - SINCE, end)
    return told, {block_id: (total, failed) for block_id, total, failed in rows}


async def steps_of_runs(it: Witness) -> dict[str, tuple[int, int, int, int]]:
    """All steps of each run, those that ended or failed by themselves, and those that cascaded."""
    runs: dict[str, list[Step]] = defaultdict(list)
    for step in (step for steps in (await it.steps()).values() for step in steps):
        runs[step.row["run"]].append(step)
    rows = {}
    for run, steps in runs.items():
        over = [step for step in steps if step.is_over]
        cascaded = [step for step in over if step.row["error"] in CASCADES]
        failed = [step for step in over if step.row["status"] == "FAILED"]
        own = (len(over) - len(cascaded), len(failed) - len(cascaded))
        rows[run] = (len(steps), *own, len(cascaded))
    return rows


async def step_counts(it: Witness) -> Told:
    rows = dict(list((await steps_of_runs(it)).items())[-50:])
    listed = await it.listed("/v1/executions/step_counts", graph_exec_id=list(rows))
    names = ("steps", "ended", "failed", "cascaded")
    return {one["graph_exec_id"]: tuple(one[name] for name in names) for one in listed}, rows


async def status_counts(it: Witness) -> Told:
    told = await it.get("/v1/executions/counts")
    found = await it.place.db.fetch("select status, count(*) from graph_execution group by 1")
    rows = dict(found)
    return (
        (told["total"], {name: count for name, count in told["counts"].items() if count}),
        (sum(rows.values()), rows),
    )


_RUNS = "select status, started_at, ended_at, updated_at from graph_execution"


async def diagnostics(it: Witness) -> Told:
    told = await it.get("/v1/diagnostics")
    rows, now = await it.place.db.fetch(_RUNS), datetime.now(UTC)
    live = [row for row in rows if row["status"] in ("INCOMPLETE", "QUEUED", "RUNNING", "REVIEW")]
    status = Counter(row["status"] for row in live)
    ended = [row for row in rows if row not in live and row["ended_at"] is not None]
    expected: dict[str, Json] = {
        **{name: status[name.upper()] for name in ("running", "queued", "incomplete")},
        "in_review": status["REVIEW"],
        "running_without_start": sum(
            row["status"] == "RUNNING" and row["started_at"] is None for row in live
        ),
        "live_with_end": sum(row["ended_at"] is not None for row in live),
    }
    for name, hours in (("1h", 1), ("24h", 24)):
        silent = [row for row in live if now - row["updated_at"] > timedelta(hours=hours)]
        expected[f"running_silent_{name}"] = sum(row["status"] == "RUNNING" for row in silent)
        late = [row for row in ended if now - timedelta(hours=hours) < row["ended_at"] <= now]
        for end in ("completed", "failed", "terminated"):
            expected[f"{end}_{name}"] = sum(row["status"] == end.upper() for row in late)
    for name, silence in (("5m", timedelta(minutes=5)), ("1h", timedelta(hours=1))):
        expected[f"queued_silent_{name}"] = sum(
            row["status"] == "QUEUED" and now - row["updated_at"] > silence for row in live
        )
    expected["ended_per_hour"] = pytest.approx(len(late) / 24)
    return {name: told[name] for name in expected}, expected


# ---- Kafka and offsets -------------------------------------------------------------------------

_OFFSETS = """
select partition, next_offset, applied, duplicate, refused, dead, quarantined
  from consumer_offset where consumer = 'apply' and topic = $1 order by 1
"""


async def _offsets(it: Witness) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await it.place.db.fetch(_OFFSETS, it.place.topic(COMMANDS.name))
    return rows


async def progress(it: Witness) -> Told:
    ends, topic = await it.ends(), it.place.topic(COMMANDS.name)
    told = [
        [one[name] for name in ("partition", *OUTCOMES, "lag", "end_offset")]
        for one in await it.listed("/v1/progress")
        if one["consumer"] == "apply" and one["topic"] == topic
    ]
    rows = [
        [row[name] for name in ("partition", *OUTCOMES)]
        + [ends[row["partition"]] - row["next_offset"], ends[row["partition"]]]
        for row in await _offsets(it)
    ]
    return told, rows


async def unread(it: Witness) -> dict[int, int]:
    """Records that apply has yet to read, by partition."""
    reached = {row["partition"]: row["next_offset"] for row in await _offsets(it)}
    return {number: end - reached.get(number, 0) for number, end in (await it.ends()).items()}


async def completeness(it: Witness) -> Told:
    told = await it.get("/v1/completeness")
    return (told["gaps"], told["behind"]), (0, sum((await unread(it)).values()))


async def topics(it: Witness) -> Told:
    ends, lag = await it.ends(), await unread(it)
    name = it.place.topic(COMMANDS.name)
    [topic] = [one for one in await it.listed("/v1/topics") if one["topic"] == name]
    names = ("begin_offset", "end_offset", "stable_offset", "lag")
    told = [
        [one[name] for name in names] + [one["consumers"]["apply"]["lag"]]
        for one in topic["partitions"]
    ]
    return told, [[0, end, end, lag[at], lag[at]] for at, end in sorted(ends.items())]


async def watch(it: Witness) -> Told:
    done = await it.program("watch", "--once", "--json")
    assert done.code == 0, done.err
    told = done.json()
    found = await it.place.db.fetch("select status, count(*) from graph_execution group by 1")
    offsets = await _offsets(it)
    opened = "select count(*) from alert where closed_at is null"
    return (
        (
            {name: count for name, count in told["runs"].items() if count},
            told["commands"],
            told["open_alerts"],
            told["lag"]["apply"],
        ),
        (
            dict(found),
            {name: sum(row[name] for row in offsets) for name in OUTCOMES},
            await it.place.db.fetchval(opened),
            sum((await unread(it)).values()),
        ),
    )
