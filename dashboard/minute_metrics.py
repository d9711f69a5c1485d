"""Metrics of blocks, graphs and budgets: the figures of one whole minute, for Prometheus.

They are gauges of the newest minute that has been over for SETTLED_FOR seconds, and not counters: a
series of Prometheus that begins at 5 has no increase, and the first failures of a block would be
missed. Every whole minute is shown for 60 seconds, by all servers alike. Only MOST blocks, graphs
and budgets have series of their own; `other` has the sums of other blocks and graphs.
"""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import Gauge

from execstream.dashboard.reads.minute_figures import (
    BOUNDS,
    BlockOfMinute,
    BudgetUse,
    GraphOfMinute,
    MinuteFigures,
)
from execstream.streams.totals.error_classes import ErrorClass

_BLOCK, _GRAPH = ["block", "name"], ["graph", "name"]

MINUTE = Gauge(
    "execstream_minute_timestamp_seconds",
    "The beginning of the minute that the other figures of a minute are of.",
)
ADDED = Gauge("execstream_minute_steps_added", "Steps that were added in the minute.", _BLOCK)
ENDED = Gauge(
    "execstream_minute_steps_ended",
    "Steps that completed or failed in the minute, without cascaded ones.",
    _BLOCK,
)
FAILED = Gauge(
    "execstream_minute_steps_failed", "Those of them that failed, without class `child`.", _BLOCK
)
CALLER_FAILED = Gauge(
    "execstream_minute_steps_caller_failed",
    "Those of them that failed by the input or credentials of the caller.",
    _BLOCK,
)
BY_CLASS = Gauge(
    "execstream_minute_steps_failed_by_class",
    "Steps that failed in the minute, by class of error; those of class `child` as well.",
    [*_BLOCK, "class"],
)
CASCADED = Gauge(
    "execstream_minute_steps_cascaded",
    "Steps that failed in the minute because their run ended.",
    _BLOCK,
)
TERMINATED = Gauge(
    "execstream_minute_steps_terminated", "Steps that were terminated in the minute.", _BLOCK
)
COST = Gauge(
    "execstream_minute_cost_cents", "Cost of the steps that ended in the minute, in cents.", _BLOCK
)
SECONDS = Gauge(
    "execstream_minute_step_seconds_bucket",
    "Steps that ended in the minute and took `le` seconds at most, within 2 %.",
    [*_BLOCK, "le"],
)
RUNS = Gauge(
    "execstream_minute_runs",
    "Moves of runs to a status in the minute, their creation among them.",
    [*_GRAPH, "status"],
)
BUDGET_USED = Gauge(
    "execstream_budget_used_ratio",
    "The greatest cost that counts for a budget, of a live run or today, as a part of its limit.",
    ["budget", "per"],
)

_OF_BLOCKS = (ADDED, ENDED, FAILED, CALLER_FAILED, BY_CLASS, CASCADED, TERMINATED, COST, SECONDS)


def clear() -> None:
    """Remove all series, while Postgres is unavailable."""
    MINUTE.set(0)
    for metric in (*_OF_BLOCKS, RUNS, BUDGET_USED):
        metric.clear()


def show(figures: MinuteFigures) -> None:
    """Set the series to `figures`, and remove all others."""
    clear()
    MINUTE.set(figures.minute.timestamp())
    for block in figures.blocks:
        _show_block(block)
    _show_graphs(figures.graphs)
    _show_budgets(figures.budgets)


def _show_block(block: BlockOfMinute) -> None:
    labels = (block.block_id, block.name)
    ADDED.labels(*labels).set(block.added)
    ENDED.labels(*labels).set(block.ended)
    FAILED.labels(*labels).set(block.failed)
    CALLER_FAILED.labels(*labels).set(block.caller_failed)
    CASCADED.labels(*labels).set(block.cascaded)
    TERMINATED.labels(*labels).set(block.terminated)
    COST.labels(*labels).set(block.cost)
    for error_class in ErrorClass:
        BY_CLASS.labels(*labels, error_class).set(block.error_classes.get(error_class, 0))
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    for bound, count in zip(bounds, accumulate(block.durations), strict=True):
        SECONDS.labels(*labels, bound).set(count)


def _show_graphs(graphs: Iterable[GraphOfMinute]) -> None:
    for graph in graphs:
        for status, count in graph.runs.items():
            RUNS.labels(graph.graph_id, graph.name, status).set(count)


def _show_budgets(budgets: Iterable[BudgetUse]) -> None:
    for budget in budgets:
        BUDGET_USED.labels(budget.budget_id, budget.per).set(budget.used)
