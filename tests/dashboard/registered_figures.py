"""Every figure of `docs/figures.py` that is one over rows, with how it is compared with them.

Other numbers than figures over rows are left out by rule: numbers that count nothing, copies of a
producer's reports, and values given by a caller or of one record, command or request.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from docs.figures import DOCUMENTS, MODELS, SCHEMAS, Figure
from tests.dashboard import told_rows as rows
from tests.dashboard import told_situation as situation
from tests.dashboard import told_totals as totals
from tests.dashboard.counted_rows import Told, Witness

_LEFT_OUT = ("none:", "the life of", "the record", "the command", "the request", "from the request")
# Of other tests: quarantine, silent runs, probabilities of stuck runs, and rates of the day before.
ELSEWHERE = {
    "ActionCount": {"runs"},
    "CostRow": {"cost", "tokens", "ended", "failed", "days"},
    "Costs": {"total"},
    "ErrorRow": {"failures", "runs", "hours"},
    "Errors": {"total"},
    "LetterCount": {"letters"},
    "HeldItem": {"waiting", "bytes"},
    "Subject": {"usual_rate", "usual_cost", "excess"},
    "SilentGroup": {"runs", "users"},
    "UserCostSummary": {"executions", "cost", "failed_executions", "failed_cost"},
    "`figures` of an alert": {"threshold", "usual_rate", "seconds", "probability", "samples"},
    "`execstream watch`": {"commands_per_second"},  # of no span of rows
}


class Check(NamedTuple):
    """A way of comparing figures, and the fields that it holds for."""

    fields: str
    compare: Callable[[Witness], Awaitable[Told]]


OUTCOMES = " ".join(rows.OUTCOMES)
_COUNTS = "ended failed caller_failed cascaded skewed"
OF_THE_TALLY: dict[str, Check] = {
    "Window": Check(f"{_COUNTS} error_rate caller_error_rate", totals.live_blocks),
    "Before": Check(_COUNTS, totals.live_blocks),
    "LiveBlock": Check("minutes", totals.live_blocks),
    "OneLiveBlock": Check("minutes", totals.one_live_block),
    "Durations": Check("p50 p95 p99", totals.durations),
    "BlockError": Check("count", totals.block_error),
    "BlockFigures": Check(
        f"added {_COUNTS} terminated cost tokens error_classes p50_ms p95_ms p99_ms",
        totals.block_figures,
    ),
    "TopError": Check("failures", totals.top_errors),
    "Subject": Check("ended failed cost", situation.subjects),
    "ErrorFamily": Check("failures runs users", situation.error_families),
    "GraphFigures": Check("minutes", situation.graphs),
    "OneGraph": Check("minutes", situation.one_graph),
    "NodeFigures": Check("ended failed caller_failed cascaded mean cost", situation.nodes),
    "RunReason": Check("failures", situation.run_reasons),
    "`figures` of an alert": Check("ended failed least_rate", totals.alerts),
    "`/v1/live/blocks`, `/v1/live/nodes`, `execution.block-stats.v1`": Check(
        f"added added_failed {_COUNTS} terminated duration_ms cost tokens minutes days",
        totals.live_tables,
    ),
}
OF_ROWS: dict[str, Check] = {
    "BlockErrors": Check("total_executions failed_executions error_rate", rows.block_errors),
    "BlockErrorStats": Check("total_executions failed_executions", rows.block_error_stats),
    "GraphVersion": Check(
        "ended failed terminated error_rate p50 p95 users cost", situation.graph_versions
    ),
    "StepCounts": Check("steps ended failed cascaded", rows.step_counts),
    "StatusCounts": Check("counts total", rows.status_counts),
    "ExecutionDiagnostics": Check(
        "running queued in_review incomplete running_without_start live_with_end "
        "running_silent_1h running_silent_24h queued_silent_5m queued_silent_1h "
        "completed_1h failed_1h terminated_1h completed_24h failed_24h terminated_24h "
        "ended_per_hour",
        rows.diagnostics,
    ),
    "Progress": Check(f"{OUTCOMES} lag end_offset", rows.progress),
    "Completeness": Check("gaps behind", rows.completeness),
    "Partition": Check("lag begin_offset end_offset stable_offset", rows.topics),
    "Reading": Check("lag", rows.topics),
    "`execstream watch`": Check("commands runs open_alerts lag", rows.watch),
}


def registered() -> dict[str, set[str]]:
    """The fields of the registry that are figures over rows, by name."""
    models = {model.__name__: figures for model, figures in MODELS.items()}
    every: dict[str, list[Figure]] = SCHEMAS | models | DOCUMENTS
    fields = {
        name: {
            field
            for figure in figures
            if not figure.window.startswith(_LEFT_OUT) or name == "StepCounts"
            for field in figure.fields.split()
            if figure.window != "the same" or "stats" not in figure.source
        }
        - ELSEWHERE.get(name, set())
        for name, figures in every.items()
    }
    return {name: some for name, some in fields.items() if some}


async def metric(url: str, name: str) -> float:
    """The sum over all samples of a metric of the worker at `url`."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )
