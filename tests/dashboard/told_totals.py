"""Figures from the totals of the tally, beside the counts of the rows."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from execstream.storage.reads.block_figures import get_block_figures, get_top_errors
from tests.dashboard.counted_rows import SINCE, Counts, Json, Step, Told, Witness, counted


def _rates(counts: Mapping[str, Json]) -> Json:
    ended = counts["ended"]
    share = {"error_rate": counts["failed"], "caller_error_rate": counts["caller_failed"]}
    return {name: pytest.approx(n / ended * 100) if ended else None for name, n in share.items()}


def windows(
    steps: list[Step], minutes: int, now: datetime
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Counts of the steps that ended in the last `minutes` and the running one, which is `now`; and
    of those that ended in as many `minutes` before.
    """
    span = timedelta(minutes=minutes)
    return (
        _between(steps, now - span, now + timedelta(minutes=1)),
        _between(steps, now - 2 * span, now - span),
    )


def _between(steps: list[Step], begin: datetime, end: datetime) -> dict[str, Json]:
    within = [step for step in steps if step.is_over and begin <= step.minute < end]
    counts = counted(within)._asdict()
    return {
        name: counts[name] for name in ("ended", "failed", "caller_failed", "cascaded", "skewed")
    }


def _live_block(told: Json, steps: list[Step]) -> Told:
    minutes = {datetime.fromisoformat(minute): rest for minute, *rest in told["minutes"]}
    now = max(minutes)
    lengths = {"1m": 1, "5m": 5, "1h": 60, "24h": 60 * 24}
    own, rows = {}, {}
    for name, one in told["windows"].items():
        here, before = windows(steps, lengths[name], now)
        rows[name] = here | _rates(here), before
        own[name] = (
            {key: one[key] for key in rows[name][0]},
            {key: one["before"][key] for key in before},
        )
    by_minute = Counter(step.minute for step in steps if step.has_ended)
    failed = Counter(step.minute for step in steps if step.has_failed)
    expected = {minute: [by_minute[minute], failed[minute]] for minute in minutes}
    return (own, minutes), (rows, expected)


async def live_blocks(it: Witness) -> Told:
    blocks = await it.steps()
    listed = {one["block_id"]: one for one in await it.listed("/v1/blocks/live")}
    pairs = {name: _live_block(one, blocks[name]) for name, one in listed.items()}
    ended = {name for name, steps in blocks.items() if any(step.is_over for step in steps)}
    return (
        (set(listed), {name: told for name, (told, _) in pairs.items()}),
        (ended, {name: rows for name, (_, rows) in pairs.items()}),
    )


async def one_live_block(it: Witness) -> Told:
    told, rows = {}, {}
    for name, steps in (await it.steps()).items():
        block = await it.get("/v1/block", block_id=name)
        (_, told[name]), (_, rows[name]) = _live_block(block, steps)
    return told, rows


def quantile(steps: list[Step], share: float) -> float | None:
    """Of the durations of steps, in milliseconds."""
    ran = sorted(
        (step.row["ended_time"] - step.row["started_time"]) / timedelta(milliseconds=1)
        for step in steps
        if step.has_ended and step.row["started_time"] is not None
    )
    return ran[int(share * (len(ran) - 1))] if ran else None


def _near_quantile(steps: list[Step], share: float) -> Json:
    ran = quantile(steps, share)
    return None if ran is None else pytest.approx(ran, rel=0.025)


async def durations(it: Witness) -> Told:
    told = {one["block_id"]: one["duration_ms"] for one in await it.listed("/v1/blocks/live")}
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    rows = {
        block_id: {"window": "1h"} | {name: _near_quantile(steps, n) for name, n in shares.items()}
        for block_id, steps in (await it.steps()).items()
    }
    return told, {name: one if one["p50"] is not None else None for name, one in rows.items()}


def failures(steps: list[Step]) -> int:
    """The errors of a block: failures of child runs, too."""
    return sum(step.has_ended and step.row["status"] == "FAILED" for step in steps)


async def block_error(it: Witness) -> Told:
    told, rows = {}, {}
    for name, steps in (await it.steps()).items():
        errors = (await it.get("/v1/block", block_id=name))["fingerprints"]
        told[name], rows[name] = sum(one["count"] for one in errors), failures(steps)
    return told, rows


async def block_figures(it: Witness) -> Told:
    end = datetime.now(UTC)
    told, rows = {}, {}
    blocks = await it.steps()
    for one in await get_block_figures(it.reads, end - SINCE, end + timedelta(minutes=1)):
        told[one.block_id] = one.model_dump(exclude={"name", "start", "end", "error_classes"})
        told[one.block_id]["errors"] = sum(one.error_classes.values())
    for name, steps in blocks.items():
        late = [step for step in steps if not step.is_skewed]  # others are of a minute ahead
        rows[name] = counted(steps)._asdict() | {
            "block_id": name,
            "skewed": 0,
            "cost": sum(step.row["cost"] for step in late if step.is_over),
            "tokens": sum(step.row["tokens"] for step in late if step.is_over),
            "errors": failures(steps),
            **{f"p{p}_ms": _near_quantile(steps, p / 100) for p in (50, 95, 99)},
        }
    return told, rows


async def top_errors(it: Witness) -> Told:
    end = datetime.now(UTC)
    told: Counter[str] = Counter()
    for one in await get_top_errors(it.reads, end - SINCE, end + timedelta(hours=1)):
        told[one.block_id] += one.failures
    rows = Counter({name: failures(steps) for name, steps in (await it.steps()).items()})
    return +told, +rows


async def live_tables(it: Witness) -> Told:
    """The tables of all workers of role tally that are this installation's."""
    told: dict[str, Json] = {}
    rows: dict[str, Json] = {}
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    hour, day = minute - timedelta(hours=1), minute.replace(hour=0, minute=0) - timedelta(days=1)
    for table, key, times, since in (
        ("blocks", "block_id", "minutes", hour),
        ("nodes", "node_id", "days", day),
    ):
        answer = await it.get(f"/v1/live/{table}")
        parts = [*Counts._fields, "added_failed", "cost", "tokens", "duration_ms"]
        told[table] = (
            answer["missing"],
            {
                one[key]: {part: one[part] for part in parts}
                | {"recent": _ended_since(since, one[times])}
                for one in answer["data"]
            },
        )
        steps: dict[str, list[Step]] = defaultdict(list)
        for step in (step for block in (await it.steps()).values() for step in block):
            steps[step.row[key]].append(step)
        rows[table] = [], {name: _live(some, since) for name, some in steps.items()}
    return told, rows


def _ended_since(since: datetime, counts: list[tuple[str, int, int]]) -> int:
    """Steps that ended in the minutes or days from `since` on; a partition without newer ones has
    older ones, too.
    """
    times = [(datetime.fromisoformat(when), ended) for when, ended, _ in counts]
    return sum(ended for when, ended in times if when.replace(tzinfo=UTC) >= since)


def _live(steps: list[Step], since: datetime) -> Json:
    ran = [
        step.row["ended_time"] - step.row["started_time"]
        for step in steps
        if step.has_ended and step.row["started_time"] is not None
    ]
    return counted(steps)._asdict() | {
        "added_failed": sum(step.row["status"] == "FAILED" for step in steps),
        "cost": sum(step.row["cost"] for step in steps if step.is_over),
        "tokens": sum(step.row["tokens"] for step in steps if step.is_over),
        "duration_ms": sum(one // timedelta(milliseconds=1) for one in ran),
        "recent": sum(step.has_ended and step.row["ended_time"] >= since for step in steps),
    }


async def alerts(it: Witness) -> Told:
    """The alert of the failing block; one must be open."""
    listed = await it.listed("/v1/alerts")
    [alert] = [one for one in listed if one["error_class"] is None]
    now = alert["figures"]["now"]
    last = datetime.now(UTC).replace(second=0, microsecond=0)
    steps = (await it.steps())[alert["block_id"]]
    rows, _ = windows(steps, now["minutes"], last)
    return (
        {name: now[name] for name in ("ended", "failed")} | {"least_rate": now["least_rate"] > 0},
        {name: rows[name] for name in ("ended", "failed")} | {"least_rate": True},
    )
