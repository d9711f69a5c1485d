"""The original's module of functions and models, with its exact signatures: a caller changes one
import.

Servers come from the settings; connections are opened with the first call. `disconnect` closes
them. Differences: `docs/from-the-original.md` and `docs/moving-in.md`.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from execstream import reads
from execstream.buses import AsyncRedisExecutionEventBus as AsyncRedisExecutionEventBus
from execstream.buses import RedisExecutionEventBus as RedisExecutionEventBus
from execstream.client.original_writes import create_graph_execution as create_graph_execution
from execstream.client.original_writes import delete_graph_execution as delete_graph_execution
from execstream.client.original_writes import set_execution_kv_data as set_execution_kv_data
from execstream.client.original_writes import (
    update_graph_execution_share_status as update_graph_execution_share_status,
)
from execstream.client.original_writes import (
    update_graph_execution_start_time as update_graph_execution_start_time,
)
from execstream.client.original_writes import (
    update_graph_execution_stats as update_graph_execution_stats,
)
from execstream.client.original_writes import (
    update_node_execution_status as update_node_execution_status,
)
from execstream.client.original_writes import (
    update_node_execution_status_batch as update_node_execution_status_batch,
)
from execstream.client.original_writes import upsert_execution_input as upsert_execution_input
from execstream.client.original_writes import upsert_execution_output as upsert_execution_output
from execstream.client.shared_client import disconnect as disconnect
from execstream.client.shared_client import shared_client
from execstream.models import *  # noqa: F403 - all of the original's models
from execstream.queue import ExecutionQueue as ExecutionQueue

P = ParamSpec("P")
T = TypeVar("T")


def _shared(read: Callable[Concatenate[Any, P], Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`read` with the shared pool as its first argument."""

    @wraps(read)
    async def bound(*args: P.args, **kwargs: P.kwargs) -> T:
        return await read((await shared_client()).db, *args, **kwargs)

    given = inspect.signature(read)
    parameters = list(given.parameters.values())[1:]
    bound.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
    return bound


get_graph_executions = _shared(reads.get_graph_executions)
get_graph_executions_count = _shared(reads.get_graph_executions_count)
get_graph_executions_paginated = _shared(reads.get_graph_executions_paginated)
get_graph_execution_meta = _shared(reads.get_graph_execution_meta)
get_graph_execution = _shared(reads.get_graph_execution)
get_child_graph_executions = _shared(reads.get_child_graph_executions)
get_node_execution = _shared(reads.get_node_execution)
get_node_executions = _shared(reads.get_node_executions)
get_latest_node_execution = _shared(reads.get_latest_node_execution)
get_execution_outputs_by_node_exec_id = _shared(reads.get_execution_outputs_by_node_exec_id)
get_execution_kv_data = _shared(reads.get_execution_kv_data)
get_block_error_stats = _shared(reads.get_block_error_stats)
get_graph_execution_by_share_token = _shared(reads.get_graph_execution_by_share_token)
get_frequently_executed_graphs = _shared(reads.get_frequently_executed_graphs)
