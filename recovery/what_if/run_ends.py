"""The final states of runs and their steps."""

from collections.abc import Sequence

import asyncpg

from execstream.recovery.what_if.comparison import End
from execstream.storage.schema.tables import RUNS, STEPS, Table
from execstream.storage.unreadable_rows import Cell, UnreadableRun, note, reading
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
    """Those of `run_ids` whose steps retention dropped, so that their ends are unknown."""
    return {row["id"] for row in await connection.fetch(_TRIMMED, run_ids)}


async def run_ends(
    connection: asyncpg.Connection, run_ids: Sequence[str]
) -> tuple[dict[str, End], set[str]]:
    """The ends, up to now, of those of `run_ids` that there are; and those that cannot be read,
    which are noted."""
    unreadable: set[str] = set()

    def status(row: asyncpg.Record, table: Table) -> ExecutionStatus | None:
        try:
            with reading(row["id"], Cell(table.name, column="status")):
                return ExecutionStatus(row["status"])
        except UnreadableRun as error:
            note(error)
            unreadable.add(error.graph_exec_id)
            return None

    steps: dict[str, dict[ExecutionStatus, int]] = {}
    for row in await connection.fetch(_STEPS, run_ids):
        if (known := status(row, STEPS)) is not None:
            steps.setdefault(row["id"], {})[known] = row["count"]
    rows = await connection.fetch(_ENDS, run_ids)
    ends = {row["id"]: End(status(row, RUNS), steps.get(row["id"], {})) for row in rows}
    return ends, unreadable
