"""Models: names, defaults, and the conversions between stored and read values."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from execstream.models import (
    BlockErrorStats,
    ExecutionContext,
    ExecutionEvent,
    GraphExecution,
    GraphExecutionEntry,
    GraphExecutionEvent,
    GraphExecutionMeta,
    GraphExecutionStats,
    GraphExecutionWithNodes,
    NodeExecutionEntry,
    NodeExecutionEvent,
    NodeExecutionResult,
    NodeExecutionStats,
    Pagination,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RUN: dict[str, Any] = {
    "id": "run",
    "user_id": "ada",
    "graph_id": "graph",
    "graph_version": 1,
    "status": "RUNNING",
}
STEP: dict[str, Any] = {
    "user_id": "ada",
    "graph_id": "graph",
    "graph_version": 1,
    "graph_exec_id": "run",
    "node_exec_id": "step",
    "node_id": "node",
    "block_id": "block",
    "status": "QUEUED",
    "input_data": {"a": 1},
    "output_data": {},
    "add_time": NOW,
}
ROW: dict[str, Any] = RUN | {
    "inputs": None,
    "credential_inputs": None,
    "nodes_input_masks": None,
    "preset_id": None,
    "attributes": None,
    "created_at": NOW,
    "started_at": None,
    "ended_at": None,
    "is_shared": False,
    "dry_run": False,
    "stats": None,
}


def test_a_context_is_safe_by_default() -> None:
    """Humans are asked where a step wants them; unknown fields are ignored."""
    context = ExecutionContext.model_validate({"user_id": "ada", "unknown": 1})

    assert context.human_in_the_loop_safe_mode is True
    assert context.sensitive_action_safe_mode is False
    assert context.dry_run is False
    assert context.user_timezone == "UTC"
    assert context.root_execution_id is None
    assert "unknown" not in context.model_dump()


def test_error_rate_is_percent() -> None:
    """And 0 where there was nothing."""
    stats = BlockErrorStats(block_id="b", total_executions=8, failed_executions=2)
    none = BlockErrorStats(block_id="b", total_executions=0, failed_executions=0)

    assert (stats.error_rate, none.error_rate) == (25.0, 0.0)


def test_stats_of_a_run_go_both_ways() -> None:
    """Names differ, values do not."""
    stored = GraphExecutionStats(
        walltime=1.5,
        cputime=1,
        nodes_walltime=3,
        nodes_cputime=2,
        node_count=4,
        node_error_count=1,
        cost=5,
        error="oh",
        activity_status="Did it.",
        correctness_score=0.5,
    )

    read = GraphExecutionMeta.Stats.from_db(stored)

    assert read.model_dump() == {
        "duration": 1.5,
        "duration_cpu_only": 1,
        "node_exec_time": 3,
        "node_exec_time_cpu_only": 2,
        "node_exec_count": 4,
        "node_error_count": 1,
        "cost": 5,
        "error": "oh",
        "activity_status": "Did it.",
        "correctness_score": 0.5,
    }
    assert read.to_db() == stored
    assert read.without_activity_features().activity_status is None
    assert read.without_activity_features().correctness_score is None
    assert read.activity_status == "Did it."


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("oh"), "oh"), (ValueError(), "ValueError"), ("oh", "oh"), (None, None)],
)
def test_errors_are_stored_in_words(error: BaseException | str | None, text: str | None) -> None:
    """An exception without a message is named by its class."""
    assert NodeExecutionStats(error=error).model_dump(mode="json")["error"] == text


def test_stats_keep_what_producers_add() -> None:
    """Fields of their own survive."""
    assert GraphExecutionStats.model_validate({"own": [1]}).model_dump()["own"] == [1]


def test_stats_of_a_step_add_up() -> None:
    """Numbers add, dicts and lists grow, the rest is overwritten, but never by None."""
    stats = NodeExecutionStats.model_validate(
        {"cost": 1, "error": "first", "cleared_inputs": {"a": ["x"]}, "list": [1], "flag": True}
    )

    stats += NodeExecutionStats.model_validate(
        {"cost": 2, "cleared_inputs": {"b": ["y"]}, "list": [2], "flag": False, "new": 3}
    )

    assert stats.model_dump(exclude_defaults=True) == {
        "cost": 3,
        "error": "first",
        "cleared_inputs": {"a": ["x"], "b": ["y"]},
        "list": [1, 2],
        "flag": False,
        "new": 3,
    }


def test_invalid_stats_are_a_warning_that_names_the_run() -> None:
    """The value, which may be a payload, is not repeated."""
    with capture_logs() as logs:
        run = GraphExecutionMeta.from_db(ROW | {"stats": {"cost": "payload"}})

    assert run.stats is None
    assert logs == [
        {
            "event": "stats.invalid",
            "log_level": "warning",
            "fields": ["cost"],
            "graph_exec_id": "run",
        }
    ]


def test_a_run_becomes_an_entry_of_the_queue() -> None:
    """With the context and masks it is given, and nothing to skip."""
    run = GraphExecutionWithNodes(**RUN, inputs={}, outputs={}, node_executions=[])
    context = ExecutionContext(user_timezone="Europe/Vienna")

    entry = run.to_graph_execution_entry(context, {"node": {"a": 1}})

    assert entry == GraphExecutionEntry(
        user_id="ada",
        graph_exec_id="run",
        graph_id="graph",
        graph_version=1,
        nodes_input_masks={"node": {"a": 1}},
        execution_context=context,
    )
    assert entry.nodes_to_skip == set()


def test_a_step_becomes_an_entry_of_the_queue() -> None:
    """Its input data are the inputs; charges stay out of dumps."""
    entry = NodeExecutionResult(**STEP).to_node_execution_entry(ExecutionContext())

    assert entry == NodeExecutionEntry(
        user_id="ada",
        graph_exec_id="run",
        graph_id="graph",
        graph_version=1,
        node_exec_id="step",
        node_id="node",
        block_id="block",
        inputs={"a": 1},
    )
    assert "pre_flight_charge" not in entry.model_dump()


def test_events_are_told_apart_by_their_type() -> None:
    """Each parses to its own model, with its place when it travelled."""
    events: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)
    of_run = GraphExecutionEvent(**RUN, inputs={}, outputs={"a": [1]})
    of_step = NodeExecutionEvent(**STEP, seq=3, command_id="c", source=(0, 7, 1))

    for event in (of_run, of_step):
        assert events.validate_json(events.dump_json(event)) == event
    assert str(of_run.event_type) == "graph_execution_update"
    assert str(of_step.event_type) == "node_execution_update"
    assert of_run.seq is None


def test_a_run_without_steps_has_no_outputs() -> None:
    """Inputs and outputs are there, and empty."""
    run = GraphExecution.from_db(ROW)

    assert (run.inputs, run.outputs) == ({}, {})


def test_credentials_are_what_was_sent() -> None:
    """A model of each has the fields of the original; those beyond them are kept."""
    sent = {"id": "c1", "provider": "google", "type": "oauth2", "scopes": ["mail.read"]}
    run = GraphExecution.from_db(ROW | {"credential_inputs": {"mail": sent, "odd": 1}})

    assert run.credential_inputs is not None
    assert (run.credential_inputs["mail"].provider, run.credential_inputs["odd"]) == ("google", 1)
    assert run.model_dump()["credential_inputs"] == {"mail": sent, "odd": 1}
    described = GraphExecution.model_json_schema(mode="serialization")["$defs"]
    assert {"id", "provider", "type", "title"} <= described["CredentialsMetaInput"][
        "properties"
    ].keys()


def test_an_empty_pagination_is_all_zero() -> None:
    """It equals the original."""
    assert set(Pagination.empty().model_dump().values()) == {0}
