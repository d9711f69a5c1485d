"""The published figures of execstream, each with its window, its source and its greatest delay.

`make docs` writes them into `docs/figures.md`. A numeric field of OpenAPI that is not here fails a
test, and so does a field here that OpenAPI does not have.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from execstream.agents.alerts.timers import LOOK_AT_RUNS_EVERY, LOOK_EVERY
from execstream.agents.tally.tally_stats import TICK
from execstream.config.settings import Settings
from execstream.dashboard.app import build_app
from execstream.dashboard.reads.error_families import KEPT_FOR as FAMILIES_FOR
from execstream.dashboard.reads.graph_figures import KEPT_FOR as GRAPHS_FOR
from execstream.dashboard.reads.live_blocks import DURATIONS_FOR, PAST_FOR, RECENT_FOR
from execstream.dashboard.reads.spans_of_totals import KEPT_FOR as SPANS_FOR
from execstream.dashboard.reads.unusual_subjects import BEFORE_FOR
from execstream.dashboard.reads.unusual_subjects import RECENT_FOR as SUBJECTS_FOR
from execstream.storage.models.blocks import BlockErrorStats
from execstream.storage.models.summaries import UserCostSummary
from execstream.storage.reads.block_figures import BlockFigures, TopError
from execstream.streams.json_schemas import command_schema
from execstream.streams.statuses import ExecutionStatus


class Figure(NamedTuple):
    """The content of a field. `delay`: the most by which it may be behind the stored rows."""

    fields: str  # names with spaces between
    window: str
    source: str
    delay: str = "none"


TALLY = 1.0  # seconds that totals are behind the rows while a worker of role tally runs
_TOTALS, _ROWS, _STATS = (
    "totals of the tally",
    "stored rows",
    "`stats` as the producer reported them",
)
_KAFKA, _OFFSETS = "Kafka", "`consumer_offset`"
_NO_SPAN = "none: a number that counts nothing"


def _seconds(*parts: float) -> str:
    return f"{sum(parts):g} s"


_BEHIND = _seconds(TALLY)
_RECENT = _seconds(TALLY, RECENT_FOR)
_SPANS_BEHIND = _seconds(TALLY, SPANS_FOR)
_PAST = _seconds(TALLY, RECENT_FOR, PAST_FOR)

# By schema of OpenAPI.
SCHEMAS: dict[str, list[Figure]] = {
    "Delivery": [Figure("tries", "the life of the message", _ROWS)],
    "Window": [
        Figure(
            "ended failed caller_failed cascaded skewed error_rate caller_error_rate",
            "the name of the window: 1m, 5m, 1h or 24h, in whole minutes and the running one",
            _TOTALS,
            f"{_RECENT}; of 24h, what is older than two hours: {_PAST}",
        )
    ],
    "Before": [
        Figure(
            "ended failed caller_failed cascaded skewed",
            "as long as the window, and before it",
            _TOTALS,
            f"{_RECENT}; of 24h {_PAST}",
        )
    ],
    "LiveBlock": [Figure("minutes", "each minute of the last 60", _TOTALS, _RECENT)],
    "OneLiveBlock": [Figure("minutes", "each minute of the last 60", _TOTALS, _RECENT)],
    "Durations": [
        Figure(
            "p50 p95 p99",
            "the last hour (`window`)",
            f"{_TOTALS}, within 2 %",
            _seconds(TALLY, DURATIONS_FOR),
        )
    ],
    "BlockError": [
        Figure(
            "count",
            "the last 24 hours, by whole hours; texts beyond 200 of an hour together, as `other`",
            _TOTALS,
            _BEHIND,
        )
    ],
    "BlockErrors": [
        Figure(
            "total_executions failed_executions error_rate",
            "steps that were added from `start` to `end`; 24 hours by default",
            f"{_ROWS}, or {_TOTALS} and what they have not counted yet",
        )
    ],
    "StepCounts": [
        Figure("steps ended failed cascaded", "the life of the run, to 1,000 steps", _ROWS)
    ],
    "StatusCounts": [Figure("counts total", "the filters that were asked for", _ROWS)],
    "ActionCount": [Figure("runs", "the filters that were asked for", _ROWS)],
    "LetterCount": [Figure("letters", "the filters that were asked for", _ROWS)],
    "ExecutionDiagnostics": [
        Figure("running queued in_review incomplete", "now", _ROWS),
        Figure("running_without_start live_with_end", "now", _ROWS),
        Figure(
            "running_silent_1h running_silent_24h queued_silent_5m queued_silent_1h",
            "now; silent for longer than the name says",
            _ROWS,
        ),
        Figure("completed_1h failed_1h terminated_1h", "the last hour", _ROWS),
        Figure("completed_24h failed_24h terminated_24h", "the last 24 hours", _ROWS),
        Figure("ended_per_hour", "the mean of the last 24 hours", _ROWS),
    ],
    "Stats": [
        Figure(
            "cost duration duration_cpu_only node_exec_time node_exec_time_cpu_only",
            "the life of the run",
            _STATS,
        ),
        Figure("node_exec_count node_error_count correctness_score", "the life of the run", _STATS),
    ],
    "NodeExecutionStats": [
        Figure("walltime cputime cost extra_cost extra_steps", "the life of the step", _STATS),
        Figure("input_size output_size llm_call_count llm_retry_count", "the same", _STATS),
        Figure("input_token_count output_token_count", "the same", _STATS),
        Figure("cache_read_token_count cache_creation_token_count", "the same", _STATS),
        Figure("reconciled_cost_delta provider_cost", "the same", _STATS),
    ],
    "BlockStep": [
        Figure("walltime", "the life of the step", _STATS),
        Figure("graph_version", _NO_SPAN, _ROWS),
    ],
    "Completeness": [
        Figure("gaps", "since the topic was made", f"{_KAFKA} and {_OFFSETS}"),
        Figure("behind", "now", f"{_KAFKA} and {_OFFSETS}"),
    ],
    "Progress": [
        Figure("applied duplicate refused dead quarantined", "since the consumer began", _OFFSETS),
        Figure("lag end_offset", "now", _KAFKA),
        Figure("partition next_offset published_offset", _NO_SPAN, _OFFSETS),
    ],
    "HeldItem": [
        Figure("waiting bytes", "now", _ROWS),
        Figure("partition offset", _NO_SPAN, _ROWS),
    ],
    "ReleaseItem": [
        Figure("copies", "the request", _KAFKA),
        Figure("last_offset", _NO_SPAN, _KAFKA),
    ],
    "Partition": [
        Figure("lag begin_offset end_offset stable_offset", "now", _KAFKA),
        Figure("partition", _NO_SPAN, _KAFKA),
    ],
    "Reading": [
        Figure("lag", "now", f"{_KAFKA} and {_OFFSETS}"),
        Figure("next_offset", _NO_SPAN, f"{_OFFSETS}, or Redis"),
    ],
    "OutcomeModel": [
        Figure("updated", "the command", _ROWS),
        Figure("seq", _NO_SPAN, _ROWS),
    ],
    "DeadLetter": [
        Figure("bytes", "the record", _ROWS),
        Figure("partition offset", _NO_SPAN, _ROWS),
    ],
    "DeadLetterItem": [
        Figure("bytes", "the record", _ROWS),
        Figure("partition offset", _NO_SPAN, _ROWS),
    ],
    "Subject": [
        Figure(
            "ended failed cost",
            "the last hour: 60 whole minutes and the running one",
            f"of blocks {_TOTALS}, else {_ROWS}",
            f"of blocks {_seconds(TALLY, SUBJECTS_FOR)}, else {_seconds(SUBJECTS_FOR)}",
        ),
        Figure(
            "usual_rate usual_cost excess",
            "the 24 hours before",
            f"of blocks {_TOTALS}, else {_ROWS}",
            _seconds(TALLY, SUBJECTS_FOR, BEFORE_FOR),
        ),
        Figure("graph_version", _NO_SPAN, _ROWS),
    ],
    "GraphVersion": [
        Figure(
            "ended failed terminated error_rate p50 p95 users",
            "the last 24 hours",
            _ROWS,
            _seconds(GRAPHS_FOR),
        ),
        Figure("cost", "the last 24 hours", _STATS, _seconds(GRAPHS_FOR)),
        Figure("graph_version", _NO_SPAN, _ROWS),
    ],
    "GraphFigures": [
        Figure("minutes", "each minute of the last 60", _TOTALS, _seconds(TALLY, GRAPHS_FOR))
    ],
    "OneGraph": [
        Figure("minutes", "each minute of the last 60", _TOTALS, _seconds(TALLY, GRAPHS_FOR))
    ],
    "CostRow": [
        Figure("cost tokens ended failed days", "days of UTC, as asked for", _TOTALS, _SPANS_BEHIND)
    ],
    "Costs": [Figure("total", "days of UTC, as asked for", _TOTALS, _SPANS_BEHIND)],
    "ErrorRow": [
        Figure("failures runs hours", "whole hours, as asked for", _TOTALS, _SPANS_BEHIND),
        Figure("graph_version", _NO_SPAN, _ROWS),
    ],
    "Errors": [Figure("total", "whole hours, as asked for", _TOTALS, _SPANS_BEHIND)],
    "NodeFigures": [
        Figure("ended failed caller_failed cascaded mean cost", "7 days of UTC", _TOTALS, _BEHIND)
    ],
    "ErrorFamily": [
        Figure(
            "failures runs users",
            "the last 24 hours, by whole hours",
            _TOTALS,
            _seconds(TALLY, FAMILIES_FOR),
        )
    ],
    "SilentGroup": [Figure("runs users", "now; silent for more than 5 minutes", _ROWS)],
    "RunReason": [Figure("failures", "the time that the run has existed", _TOTALS, _BEHIND)],
    "Alert": [Figure("id", _NO_SPAN, _ROWS)],
    "StoredToken": [Figure("id", _NO_SPAN, _ROWS)],
    "AuditEntry": [Figure("id", _NO_SPAN, _ROWS)],
    "Silence": [Figure("minutes", "from the request on", "the caller")],
    "LiveTable": [Figure("missing", _NO_SPAN, "workers of role tally")],
    "Member": [Figure("partitions", _NO_SPAN, _KAFKA)],
    "RedrivenItem": [Figure("partition offset", _NO_SPAN, _KAFKA)],
    "RefusalItem": [Figure("source", _NO_SPAN, _ROWS)],
    "Event": [Figure("source seq graph_version", _NO_SPAN, _ROWS)],
    "Problem": [Figure("status", _NO_SPAN, "the server")],
    "ProblemType": [Figure("status", _NO_SPAN, "the server")],
    "Graph": [Figure("graph_version", _NO_SPAN, _ROWS)],
    "GraphExecutionMeta": [Figure("graph_version", _NO_SPAN, _ROWS)],
    "GraphExecutionWithNodes": [Figure("graph_version", _NO_SPAN, _ROWS)],
    "NodeExecutionResult": [Figure("graph_version", _NO_SPAN, _ROWS)],
}

# Of models that reads of the package and the command line give, and no route.
MODELS: dict[type[BaseModel], list[Figure]] = {
    BlockFigures: [
        Figure(
            "added ended failed terminated cascaded caller_failed skewed cost tokens error_classes",
            "the minutes from `start` to `end`",
            _TOTALS,
            _BEHIND,
        ),
        Figure(
            "p50_ms p95_ms p99_ms",
            "the minutes from `start` to `end`",
            f"{_TOTALS}, within 2 %",
            _BEHIND,
        ),
    ],
    TopError: [Figure("failures", "the hours from `start` to `end`", _TOTALS, _BEHIND)],
    BlockErrorStats: [
        Figure(
            "total_executions failed_executions",
            "steps that were added from `start_time` to `end_time`",
            f"{_ROWS}, or {_TOTALS} and what they have not counted yet",
        )
    ],
    UserCostSummary: [
        Figure(
            "executions cost failed_executions failed_cost",
            "runs that were created from `start` to `end`",
            _STATS,
        )
    ],
}

# Fields of documents that have no schema of their own.
DOCUMENTS: dict[str, list[Figure]] = {
    "`figures` of an alert": [
        Figure(
            "ended failed least_rate",
            "`minutes` whole ones and the running one",
            _TOTALS,
            _seconds(TALLY, LOOK_EVERY),
        ),
        Figure("threshold", "the setting, or `usual_rate`", "settings"),
        Figure("usual_rate", "24 hours before the last one, when it was raised", _TOTALS),
        Figure(
            "seconds probability samples",
            "since the step or run began; samples of 7 days",
            f"{_ROWS} and {_TOTALS}",
            _seconds(LOOK_AT_RUNS_EVERY),
        ),
    ],
    "`/v1/live/blocks`, `/v1/live/nodes`, `execution.block-stats.v1`": [
        Figure(
            "added added_failed ended failed terminated cascaded caller_failed skewed",
            "since the first event",
            "live tables of the tally",
            _seconds(TALLY, TICK),
        ),
        Figure("duration_ms cost tokens", "the same", "the same", _seconds(TALLY, TICK)),
        Figure(
            "minutes days",
            "each of the 60 minutes, or 2 days, up to the newest of its partition",
            "the same",
            _seconds(TALLY, TICK),
        ),
    ],
    "`execstream watch`": [
        Figure("commands_per_second", "the last `seconds`", _OFFSETS),
        Figure("commands", "since the consumers began", _OFFSETS),
        Figure("runs open_alerts", "now", _ROWS),
        Figure("lag", "now", f"{_KAFKA} and {_OFFSETS}"),
    ],
}


def numeric_fields(schema: Mapping[str, Any]) -> list[str]:
    """The properties of a JSON schema that are numbers, or are made of numbers."""
    return [name for name, part in schema.get("properties", {}).items() if _is_numeric(part)]


def _is_numeric(part: object) -> bool:
    if not isinstance(part, dict):
        return False
    if part.get("type") in ("integer", "number"):
        return True
    inner = [one for key in ("anyOf", "oneOf", "allOf", "prefixItems") for one in part.get(key, ())]
    return any(map(_is_numeric, [*inner, part.get("items"), part.get("additionalProperties")]))


def schemas() -> Mapping[str, Mapping[str, Any]]:
    """The schemas of OpenAPI by name, but for those of commands, which tell no figures."""
    nowhere = {
        "kafka_bootstrap": "localhost:9092",
        "postgres_dsn": "postgresql://localhost/x",
        "redis_url": "redis://localhost",
    }
    # Nothing is opened before the application runs.
    app = build_app(Settings(**nowhere), None)  # type: ignore[arg-type]
    described: Mapping[str, Mapping[str, Any]] = app.openapi()["components"]["schemas"]
    sent = command_schema().definitions.keys() - {ExecutionStatus.__name__}
    return {name: schema for name, schema in described.items() if name not in sent}


def figures_table() -> Iterator[str]:
    """All figures but those of `/metrics`, a row for each field."""
    yield "| field | window | source | greatest delay |"
    yield "| --- | --- | --- | --- |"
    named = {f"`{name}`": figures for name, figures in SCHEMAS.items()}
    named |= {f"`{model.__name__}`": figures for model, figures in MODELS.items()}
    for name, figures in (named | DOCUMENTS).items():
        for fields, window, source, delay in figures:
            listed = ", ".join(f"`{field}`" for field in fields.split())
            yield f"| {name}: {listed} | {window} | {source} | {delay} |"
