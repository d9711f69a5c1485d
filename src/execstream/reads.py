"""Reads of runs, steps, key-values and figures.

Each takes the pool of `execstream.connect` first. A read of several statements sees one moment. An
id that is not a UUID is the id of nothing.
"""

from execstream.storage.reads.as_of import (
    find_past as find_past,
)
from execstream.storage.reads.as_of import (
    get_graph_execution_as_of as get_graph_execution_as_of,
)
from execstream.storage.reads.as_of import (
    list_graph_executions_as_of as list_graph_executions_as_of,
)
from execstream.storage.reads.as_of import (
    list_steps_as_of as list_steps_as_of,
)
from execstream.storage.reads.block_errors import get_block_error_stats as get_block_error_stats
from execstream.storage.reads.block_figures import (
    get_block_figures as get_block_figures,
)
from execstream.storage.reads.block_figures import (
    get_top_errors as get_top_errors,
)
from execstream.storage.reads.costs import get_user_cost_summary as get_user_cost_summary
from execstream.storage.reads.diagnostics import (
    get_execution_diagnostics as get_execution_diagnostics,
)
from execstream.storage.reads.key_values import get_execution_kv_data as get_execution_kv_data
from execstream.storage.reads.read_errors import (
    AmbiguousStep as AmbiguousStep,
)
from execstream.storage.reads.read_errors import (
    InvalidCursor as InvalidCursor,
)
from execstream.storage.reads.read_errors import (
    NotYetHappened as NotYetHappened,
)
from execstream.storage.reads.read_errors import (
    PastIsGone as PastIsGone,
)
from execstream.storage.reads.run_detail import (
    get_graph_execution as get_graph_execution,
)
from execstream.storage.reads.run_detail import (
    get_graph_execution_by_share_token as get_graph_execution_by_share_token,
)
from execstream.storage.reads.run_detail import (
    get_graph_execution_meta as get_graph_execution_meta,
)
from execstream.storage.reads.run_lists import (
    get_child_graph_executions as get_child_graph_executions,
)
from execstream.storage.reads.run_lists import (
    get_frequently_executed_graphs as get_frequently_executed_graphs,
)
from execstream.storage.reads.run_lists import (
    get_graph_executions as get_graph_executions,
)
from execstream.storage.reads.run_lists import (
    get_graph_executions_count as get_graph_executions_count,
)
from execstream.storage.reads.run_lists import (
    get_graph_executions_paginated as get_graph_executions_paginated,
)
from execstream.storage.reads.run_lists import (
    list_graph_executions as list_graph_executions,
)
from execstream.storage.reads.steps import (
    get_execution_outputs_by_node_exec_id as get_execution_outputs_by_node_exec_id,
)
from execstream.storage.reads.steps import (
    get_latest_node_execution as get_latest_node_execution,
)
from execstream.storage.reads.steps import (
    get_node_execution as get_node_execution,
)
from execstream.storage.reads.steps import (
    get_node_executions as get_node_executions,
)
