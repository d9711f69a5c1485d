"""Rows of this installation that an import is compared with. JSON is text as Postgres has it."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import asyncpg

from execstream.recovery.history_import.source_rows import Json

Row = Mapping[str, Any]


class Progress(NamedTuple):
    """How far a run has come here, and the partition of its commands."""

    last_seq: int
    partition: int


@dataclass(slots=True)
class TargetRun:
    """A run with its steps by id, and the values of these: (is output, pin, JSON)."""

    row: Row
    steps: dict[str, Row] = field(default_factory=dict)
    values: dict[str, list[tuple[bool, str, Json]]] = field(
        default_factory=lambda: defaultdict(list)
    )


_PROGRESS = """
select id::text, last_seq, source_partition from graph_execution where id = any($1::uuid[])
"""
_RUNS = "select * from graph_execution where id = any($1::uuid[])"
_STEPS = """
select * from node_execution where graph_exec_id = any($1::uuid[]) and run_day = any($2::date[])
"""
_VALUES = """
select graph_exec_id::text, node_exec_id::text, type = 'node.output_added', name, data
  from journal
 where graph_exec_id = any($1::uuid[]) and run_day = any($2::date[])
   and type in ('node.input_added', 'node.output_added')
"""
_KEY_VALUES = """
select user_id, key, data, updated_at from kv_data
 where (user_id, key) in (select * from unnest($1::text[], $2::text[]))
"""


async def load_progress(db: asyncpg.Connection, run_ids: Collection[str]) -> dict[str, Progress]:
    """Return the progress of those runs that are there."""
    rows = await db.fetch(_PROGRESS, run_ids)
    return {row[0]: Progress(row[1], row[2]) for row in rows}


async def load_runs(
    db: asyncpg.Connection, run_ids: Sequence[str], days: Collection[date]
) -> dict[str, TargetRun]:
    """Return those runs that are there; `days`: those on which they were created."""
    runs = {str(row["id"]): TargetRun(row) for row in await db.fetch(_RUNS, run_ids)}
    for row in await db.fetch(_STEPS, run_ids, list(days)):
        runs[str(row["graph_exec_id"])].steps[str(row["id"])] = row
    for run_id, step_id, *value in await db.fetch(_VALUES, run_ids, list(days)):
        is_output, name, data = value
        runs[run_id].values[step_id].append((is_output, name, data))
    return runs


async def load_key_values(
    db: asyncpg.Connection, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Json, datetime]]:
    """Return value and time of those key-values that are there."""
    users, names = zip(*keys, strict=True)
    rows = await db.fetch(_KEY_VALUES, users, names)
    return {(row[0], row[1]): (row[2], naive(row[3])) for row in rows}


def naive(time: Any) -> Any:
    """Return a time in UTC without a zone, as the original has it."""
    return time.astimezone(UTC).replace(tzinfo=None) if isinstance(time, datetime) else time
