"""How runs and their steps stand."""

from collections.abc import Sequence

import asyncpg

from execstream.recovery.what_if.comparison import End
from execstream.streams.statuses import ExecutionStatus

# Of erased runs the tombstone has the status, and there are no steps.
_ENDS = "select id::text, status from graph_execution where id = any ($1::uuid[])"
_STEPS = """
select graph_exec_id::text as id, status, count(*) from node_execution
 where graph_exec_id = any ($1::uuid[]) group by 1, 2
"""


_TRIMMED = """
select id::text from graph_execution where id = any ($1::uuid[]) and trimmed_at is not null
"""


async def trimmed_runs(connection: asyncpg.Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of `run_ids` of which retention dropped the steps: nobody knows their ends."""
    return {row["id"] for row in await connection.fetch(_TRIMMED, run_ids)}


async def run_ends(connection: asyncpg.Connection, run_ids: Sequence[str]) -> dict[str, End]:
    """The ends, up to now, of those of `run_ids` that there are."""
    steps: dict[str, dict[ExecutionStatus, int]] = {}
    for row in await connection.fetch(_STEPS, run_ids):
        steps.setdefault(row["id"], {})[ExecutionStatus(row["status"])] = row["count"]
    return {
        row["id"]: End(ExecutionStatus(row["status"]), steps.get(row["id"], {}))
        for row in await connection.fetch(_ENDS, run_ids)
    }
