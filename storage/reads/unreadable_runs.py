"""Runs of which a stored row cannot be read, among the newest, for `execstream doctor`.

Time and memory are bounded: runs are read a few at a time until PATIENCE is over, and of each its
row, its steps without their values, and its first MOST_ENTRIES entries without payloads.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from execstream.storage.log.run_partitions import NEWEST
from execstream.storage.log.run_states import load_runs
from execstream.storage.models.graph_execution import GraphExecutionMeta
from execstream.storage.reads.run_detail import BARE_RUN_COLUMNS
from execstream.storage.schema.tables import RUNS, STEPS
from execstream.storage.unreadable_rows import NOT_AS_WRITTEN, Cell, UnreadableRun, unreadable_run
from execstream.streams import exact_json
from execstream.streams.statuses import ExecutionStatus

PATIENCE = 5.0  # seconds
RUNS_AT_ONCE = 10
MOST_ENTRIES = 5_000  # of a run

_DOCUMENTS = ("inputs", "credential_inputs", "nodes_input_masks")
_NEWEST = f"""
select {BARE_RUN_COLUMNS}, (created_at at time zone 'UTC')::date as run_day,
       {", ".join(f"jsonb_typeof({name}) <> 'object' as wrong_{name}" for name in _DOCUMENTS)}
  from graph_execution where not is_deleted
 order by created_at desc, id desc limit {RUNS_AT_ONCE} offset $1
"""
_WRONG_STEPS = """
select distinct on (graph_exec_id) graph_exec_id, id,
       case when status = any ($3::text[]) then 'execution_data' else 'status' end as column
  from node_execution
 where graph_exec_id = any ($1::uuid[]) and run_day = any ($2::date[])
   and (status <> all ($3::text[]) or jsonb_typeof(execution_data) <> 'object')
"""


@dataclass
class Examination:
    """The result of examining the newest `runs` runs: errors that name the row, by run."""

    runs: int = 0
    unreadable: dict[str, UnreadableRun] = field(default_factory=dict)

    def add(self, error: UnreadableRun) -> None:
        """Note the error of a run, unless one is known."""
        self.unreadable.setdefault(error.graph_exec_id, error)


async def find_unreadable(connection: asyncpg.Connection) -> Examination:
    """Look at as many of the NEWEST runs as there is time for.

    The connection must hand JSON over as text.
    """
    examined = Examination()
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while examined.runs < NEWEST:
                rows = await connection.fetch(_NEWEST, examined.runs)
                if not rows:
                    break
                await _examine(connection, rows, examined)
                examined.runs += len(rows)
    return examined


async def _examine(
    connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], examined: Examination
) -> None:
    for row in rows:
        if (error := _wrong(row)) is not None:
            examined.add(error)
    ids = [str(row["id"]) for row in rows]
    await load_runs(connection, ids, dict.fromkeys(ids, MOST_ENTRIES + 1), unreadable=examined.add)
    days = list({row["run_day"] for row in rows})
    for step in await connection.fetch(_WRONG_STEPS, ids, days, list(ExecutionStatus)):
        cell = Cell(STEPS.name, f"step {step['id']}", step["column"])
        what = ValueError("no status, or no object")
        examined.add(unreadable_run(str(step["graph_exec_id"]), what, cell))


def _wrong(row: asyncpg.Record) -> UnreadableRun | None:
    """The error in the row of a run."""
    run_id = str(row["id"])
    for name in _DOCUMENTS:
        if row[f"wrong_{name}"]:
            return unreadable_run(run_id, TypeError("no object"), Cell(RUNS.name, column=name))
    try:
        known = {
            name: exact_json.decode(row[name])
            for name in ("stats", "attributes")
            if row[name] is not None
        }
        GraphExecutionMeta.from_db(dict(row) | known)
    except (*NOT_AS_WRITTEN, UnreadableRun) as error:
        return unreadable_run(run_id, error, Cell(RUNS.name))
    return None
