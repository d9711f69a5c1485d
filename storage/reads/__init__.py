"""Reads of runs, steps, key-values and figures, by the names of the original.

Each takes the pool of `execstream.connect` first and returns models of `storage.models`. A read of
several statements sees one moment. An id that is no UUID is an id nothing has.
"""

from execstream.storage.reads.as_of import (
    find_past,
    get_graph_execution_as_of,
    list_graph_executions_as_of,
    list_steps_as_of,
)
from execstream.storage.reads.block_errors import get_block_error_stats
from execstream.storage.reads.costs import get_user_cost_summary
from execstream.storage.reads.diagnostics import get_execution_diagnostics
from execstream.storage.reads.key_values import get_execution_kv_data
from execstream.storage.reads.read_errors import (
    AmbiguousStep,
    InvalidCursor,
    NotYetHappened,
    PastIsGone,
)
from execstream.storage.reads.run_detail import (
    get_graph_execution,
    get_graph_execution_by_share_token,
    get_graph_execution_meta,
)
from execstream.storage.reads.run_lists import (
    get_child_graph_executions,
    get_frequently_executed_graphs,
    get_graph_executions,
    get_graph_executions_count,
    get_graph_executions_paginated,
    list_graph_executions,
)
from execstream.storage.reads.steps import (
    get_execution_outputs_by_node_exec_id,
    get_latest_node_execution,
    get_node_execution,
    get_node_executions,
)

__all__ = [
    "AmbiguousStep",
    "InvalidCursor",
    "NotYetHappened",
    "PastIsGone",
    "find_past",
    "get_block_error_stats",
    "get_child_graph_executions",
    "get_execution_diagnostics",
    "get_execution_kv_data",
    "get_execution_outputs_by_node_exec_id",
    "get_frequently_executed_graphs",
    "get_graph_execution",
    "get_graph_execution_as_of",
    "get_graph_execution_by_share_token",
    "get_graph_execution_meta",
    "get_graph_executions",
    "get_graph_executions_count",
    "get_graph_executions_paginated",
    "get_latest_node_execution",
    "get_node_execution",
    "get_node_executions",
    "get_user_cost_summary",
    "list_graph_executions",
    "list_graph_executions_as_of",
    "list_steps_as_of",
]
