"""`execstream.execution` has the original's functions, parameter for parameter."""

import inspect

import pytest

from execstream import execution, models, queue

SIGNATURES = {
    "create_graph_execution": "graph_id graph_version starting_nodes_input inputs user_id "
    "preset_id=None credential_inputs=None nodes_input_masks=None parent_graph_exec_id=None",
    "upsert_execution_input": "node_id graph_exec_id input_name input_data node_exec_id=None",
    "upsert_execution_output": "node_exec_id output_name output_data",
    "update_graph_execution_start_time": "graph_exec_id",
    "update_graph_execution_stats": "graph_exec_id status=None stats=None",
    "update_node_execution_status": "node_exec_id status execution_data=None stats=None",
    "update_node_execution_status_batch": "node_exec_ids status stats=None",
    "delete_graph_execution": "graph_exec_id user_id soft_delete=True",
    "set_execution_kv_data": "user_id node_exec_id key data",
    "update_graph_execution_share_status": "execution_id user_id is_shared share_token shared_at",
    "get_graph_executions": "graph_exec_id=None graph_id=None graph_version=None user_id=None "
    "statuses=None created_time_gte=None created_time_lte=None limit=None",
    "get_graph_executions_count": "user_id=None graph_id=None statuses=None created_time_gte=None "
    "created_time_lte=None",
    "get_graph_executions_paginated": "user_id graph_id=None page=1 page_size=25 statuses=None "
    "created_time_gte=None created_time_lte=None",
    "get_graph_execution_meta": "user_id execution_id",
    "get_graph_execution": "user_id execution_id include_node_executions=False",
    "get_child_graph_executions": "parent_exec_id",
    "get_node_execution": "node_exec_id",
    "get_node_executions": "graph_exec_id=None node_id=None block_ids=None statuses=None "
    "limit=None created_time_gte=None created_time_lte=None include_exec_data=True",
    "get_latest_node_execution": "node_id graph_eid",
    "get_execution_outputs_by_node_exec_id": "node_exec_id",
    "get_execution_kv_data": "user_id key",
    "get_block_error_stats": "start_time end_time",
    "get_graph_execution_by_share_token": "share_token",
    "get_frequently_executed_graphs": "days_back=30 min_executions=10",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_caller_changes_one_import(name: str) -> None:
    """Parameters with their defaults are in the original's order; others have a default and come
    after them, or by name only."""
    parameters = inspect.signature(getattr(execution, name)).parameters.values()
    given = [
        one.name if one.default is one.empty else f"{one.name}={one.default}"
        for one in parameters
        if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    wanted = SIGNATURES[name].split()

    assert given[: len(wanted)] == wanted
    assert all(one.default is not one.empty for one in list(parameters)[len(wanted) :])


def test_models_queue_and_buses_come_from_the_same_module() -> None:
    for name in (one for one in vars(models) if one[0].isupper()):
        assert getattr(execution, name) is getattr(models, name)
    assert execution.ExecutionQueue is queue.ExecutionQueue
    assert execution.RedisExecutionEventBus.__name__ == "RedisExecutionEventBus"
