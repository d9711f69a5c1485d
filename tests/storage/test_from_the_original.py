"""Everything of the original is here by its name, and the page about it covers all of it."""

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from pydantic import BaseModel

import execstream
from execstream import models, queue, reads
from execstream.client.buses import (
    AsyncRedisExecutionEventBus,
    RedisExecutionEventBus,
)

PAGE = (Path(__file__).parents[2] / "docs" / "from-the-original.md").read_text(encoding="utf-8")
ROWS = [session for session in PAGE.splitlines() if session.startswith("|")]

# Parameters by name, as the original has them.
WRITERS = {
    "create_graph_execution": "graph_id graph_version starting_nodes_input inputs user_id preset_id"
    " credential_inputs nodes_input_masks parent_graph_exec_id",
    "upsert_execution_input": "node_id graph_exec_id input_name input_data node_exec_id",
    "upsert_execution_output": "node_exec_id output_name output_data",
    "update_graph_execution_start_time": "graph_exec_id",
    "update_graph_execution_stats": "graph_exec_id status stats",
    "update_node_execution_status": "node_exec_id status execution_data stats",
    "update_node_execution_status_batch": "node_exec_ids status stats",
    "delete_graph_execution": "graph_exec_id user_id soft_delete",
    "set_execution_kv_data": "user_id node_exec_id key data",
    "update_graph_execution_share_status": "execution_id user_id is_shared share_token shared_at",
}
READERS = {
    "get_graph_executions": "graph_exec_id graph_id graph_version user_id statuses created_time_gte"
    " created_time_lte limit",
    "get_graph_executions_count": "user_id graph_id statuses created_time_gte created_time_lte",
    "get_graph_executions_paginated": "user_id graph_id page page_size statuses created_time_gte"
    " created_time_lte",
    "get_graph_execution_meta": "user_id execution_id",
    "get_graph_execution": "user_id execution_id include_node_executions",
    "get_child_graph_executions": "parent_exec_id",
    "get_node_execution": "node_exec_id",
    "get_node_executions": "graph_exec_id node_id block_ids statuses limit created_time_gte"
    " created_time_lte include_exec_data",
    "get_latest_node_execution": "node_id graph_eid",
    "get_execution_outputs_by_node_exec_id": "node_exec_id",
    "get_execution_kv_data": "user_id key",
    "get_block_error_stats": "start_time end_time",
    "get_graph_execution_by_share_token": "share_token",
    "get_frequently_executed_graphs": "days_back min_executions",
}
MEMBERS = {
    queue.ExecutionQueue: "add get empty get_or_none",
    queue.AsyncExecutionQueue: "add get empty get_or_none",
    RedisExecutionEventBus: "event_bus_name publish listen wait_for_event",
    AsyncRedisExecutionEventBus: "event_bus_name publish listen wait_for_event",
    models.GraphExecutionMeta.Stats: "from_db to_db without_activity_features",
    models.GraphExecutionWithNodes: "to_graph_execution_entry from_db",
    models.NodeExecutionResult: "to_node_execution_entry from_db",
    models.Pagination: "empty",
    models.BlockErrorStats: "error_rate",
}


def public(page: ModuleType) -> list[str]:
    """Names that a page of the package offers."""
    return [name for name in vars(page) if not name.startswith("_")]


MODELS = [
    getattr(models, name)
    for name in public(models)
    if inspect.isclass(getattr(models, name)) and issubclass(getattr(models, name), BaseModel)
]


@pytest.mark.parametrize("name", [*WRITERS, *READERS])
def test_functions_have_the_parameters_of_the_original(name: str) -> None:
    """In their order, so that calls by position work; and the page has a row for each."""
    if name in WRITERS:
        function, wanted = getattr(execstream.ExecutionClient, name), WRITERS[name].split()
    else:
        function, wanted = getattr(reads, name), READERS[name].split()

    _, *found = inspect.signature(function).parameters  # self, or the pool

    assert found[: len(wanted)] == wanted
    assert _row(name)


@pytest.mark.parametrize("name", public(reads))
def test_reads_that_serve_people_take_their_owner(name: str) -> None:
    """Reads that can be called without one declare it at the beginning of their docstring."""
    read = getattr(reads, name)
    if not inspect.iscoroutinefunction(read):
        return
    parameter = inspect.signature(read).parameters.get("user_id")
    if parameter is None or parameter.default is None:
        first = (inspect.getdoc(read) or "").splitlines()[0]
        assert re.search(r"\bowners?\b|anyone who holds", first), first
    assert _row(name)


def test_classes_have_their_members() -> None:
    """The members have the names of the original."""
    for owner, names in MEMBERS.items():
        assert not [name for name in names.split() if not hasattr(owner, name)], owner


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_page_names_every_model_and_field(model: type[BaseModel]) -> None:
    """New members need no row of their own."""
    row = _row(model.__name__)
    new = "new: results" in row
    # A run with more is described by its additions; events by their subject.
    told = row if "those" not in row else PAGE

    assert new or not [name for name in model.model_fields if f"`{name}`" not in told]


def test_the_page_names_everything_else() -> None:
    """Types, statuses, kinds of blocks."""
    for name in public(models):
        assert f"`{name}`" in PAGE, name
    for value in (*models.ExecutionStatus, *models.BlockType, *models.ExecutionEventType):
        assert f"`{value}`" in PAGE
    assert len(get_args(models.ExecutionEvent)) == 2


def _row(name: str) -> str:
    """The row of the page that begins with this name, or names it first."""
    rows = [row for row in ROWS if f"`{name}`" in row.split("|")[1]]
    assert rows, f"docs/from-the-original.md has no row for {name}"
    return rows[0]
