"""A run as spans of OpenTelemetry, by its conventions for generative AI: the run is `invoke_agent`,
and each step that was started is an `execute_tool` below it.

Ids follow from those of the run and the step, so that a trace which is made again is the same one.
Inputs and outputs are left out.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import asyncpg

from execstream.storage.log.run_states import entry_cell
from execstream.storage.models.stats import (
    GraphExecutionStats,
    NodeExecutionStats,
    error_text,
    stats_from_db,
)
from execstream.storage.querying import parse_id, snapshot
from execstream.storage.schema.tables import RUNS, STEPS
from execstream.storage.unreadable_rows import Cell, reading
from execstream.streams.statuses import ENDED, ExecutionStatus

Json = dict[str, Any]

_INTERNAL, _OK, _ERROR = 1, 1, 2  # kind of a span, and codes of a status
_SCOPE = {"name": "execstream"}
_RUN = """
select run.*, (run.created_at at time zone 'UTC')::date as run_day, graph.name as graph_name
  from graph_execution run
  left join graph on graph.id = run.graph_id and graph.version = run.graph_version
 where run.id = $1 and not run.is_deleted
"""
_STEPS = """
select step.id, step.node_id, step.block_id, coalesce(block.name, step.block_id) as block,
       step.status, step.stats, step.started_time, step.ended_time
  from node_execution step left join block on block.id = step.block_id
 where step.graph_exec_id = $1 and step.run_day = $2 and step.started_time is not null
 order by step.started_time, step.id
"""
_MOVES = """
select seq, type, at, node_exec_id, status from journal
 where graph_exec_id = $1 and run_day = $2 and status is not null order by seq
"""


async def trace(db: asyncpg.Pool, graph_exec_id: str) -> Json | None:
    """Return the spans of a run as a document of OTLP/JSON; None where there is no such run.

    A run or step that goes on has no span yet. Source: rows of run and steps; the moves of the
    journal are events of the spans, as long as retention keeps it. Raises UnreadableRun.
    """
    run_id = parse_id(graph_exec_id)
    async with snapshot(db) as connection:
        run = await connection.fetchrow(_RUN, run_id)
        if run is None:
            return None
        steps = await connection.fetch(_STEPS, run_id, run["run_day"])
        moves = await connection.fetch(_MOVES, run_id, run["run_day"])
    events: dict[UUID | None, list[Json]] = {}
    for move in moves:
        with reading(graph_exec_id, entry_cell(move)):
            events.setdefault(move["node_exec_id"], []).append(_event(move))
    with reading(graph_exec_id, Cell(RUNS.name)):
        spans = [*_of_run(run, events.get(None, []))]
    for step in steps:
        with reading(graph_exec_id, Cell(STEPS.name, f"step {step['id']}")):
            spans += _of_step(run["id"], step, events.get(step["id"], []))
    scope = {"scope": _SCOPE, "spans": spans}
    resource = {"attributes": _attributes({"service.name": "execstream"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def _of_run(run: Mapping[str, Any], events: list[Json]) -> Iterator[Json]:
    stats = stats_from_db(GraphExecutionStats, run["stats"], run=run["id"])
    name = run["graph_name"] or run["graph_id"]
    span = _span(
        run["id"],
        run["id"],
        f"invoke_agent {name}",
        (run["started_at"] or run["created_at"], run["ended_at"]),
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": run["graph_id"],
            "gen_ai.agent.name": name,
            "gen_ai.agent.version": str(run["graph_version"]),
            "user.id": run["user_id"],
            "execstream.graph_exec_id": str(run["id"]),
            "execstream.status": run["status"],
            "execstream.dry_run": run["dry_run"],
            "execstream.cost_cents": stats.cost if stats else None,
        }
        | {f"execstream.attribute.{key}": text for key, text in (run["attributes"] or {}).items()},
        events,
    )
    if (parent := run["parent_graph_exec_id"]) is not None:
        span["links"] = [{"traceId": parent.hex, "spanId": _span_id(parent)}]
    return _ended(span, run["status"], error_text(stats.error) if stats else None)


def _of_step(run_id: UUID, step: Mapping[str, Any], events: list[Json]) -> Iterator[Json]:
    stats = stats_from_db(NodeExecutionStats, step["stats"], step=step["id"])
    span = _span(
        run_id,
        step["id"],
        f"execute_tool {step['block']}",
        (step["started_time"], step["ended_time"]),
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": step["block"],
            "gen_ai.tool.call.id": str(step["id"]),
            "gen_ai.usage.input_tokens": stats.input_token_count if stats else None,
            "gen_ai.usage.output_tokens": stats.output_token_count if stats else None,
            "execstream.node_id": step["node_id"],
            "execstream.block_id": step["block_id"],
            "execstream.status": step["status"],
            "execstream.cost_cents": stats.cost if stats else None,
        },
        events,
    )
    span["parentSpanId"] = _span_id(run_id)
    return _ended(span, step["status"], error_text(stats.error) if stats else None)


def _span(
    run_id: UUID,
    own_id: UUID,
    name: str,
    times: tuple[datetime, datetime | None],
    attributes: Mapping[str, str | bool | int | None],
    events: list[Json],
) -> Json:
    begun, ended = times
    return {
        "traceId": run_id.hex,
        "spanId": _span_id(own_id),
        "name": name,
        "kind": _INTERNAL,
        "startTimeUnixNano": _nanoseconds(begun),
        "endTimeUnixNano": ended and _nanoseconds(max(begun, ended)),
        "attributes": _attributes(attributes),
        "events": events,
    }


def _ended(span: Json, status: str, error: str | None) -> Iterator[Json]:
    """The span with its status, unless its run or step goes on."""
    if span["endTimeUnixNano"] is None or ExecutionStatus(status) not in ENDED:
        return
    if status == ExecutionStatus.COMPLETED:
        yield span | {"status": {"code": _OK}}
        return
    span["attributes"] += _attributes({"error.type": status})
    yield span | {"status": {"code": _ERROR, "message": error or status}}


def _event(move: Mapping[str, Any]) -> Json:
    attributes = _attributes({"execstream.seq": move["seq"]})
    at = _nanoseconds(move["at"])
    return {"name": ExecutionStatus(move["status"]), "timeUnixNano": at, "attributes": attributes}


def _attributes(values: Mapping[str, str | bool | int | None]) -> list[Json]:
    return [
        {"key": key, "value": _value(value)} for key, value in values.items() if value is not None
    ]


def _value(value: str | bool | int) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # as JSON has 64-bit numbers by its rules
    return {"stringValue": value}


def _span_id(own: UUID) -> str:
    return blake2b(own.bytes, digest_size=8).hexdigest()


def _nanoseconds(time: datetime) -> str:
    """Since 1970; Postgres keeps microseconds."""
    return f"{round(time.timestamp() * 1_000_000)}000"
