"""The states of runs, rebuilt from their journals by the fold that makes them live."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import asyncpg
import msgspec

from execstream.streams.fold import evolve, new_run
from execstream.streams.journal import NO_DETAIL, Detail, Entry, EntryType
from execstream.streams.key_values import KeyValues
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus

_decode_detail = msgspec.json.Decoder(Detail).decode

_RUNS = "select * from graph_execution where id = any ($1::uuid[])"

# Without the payloads, which no rule asks about; the stats of steps are kept for a cascade. What is
# taken out of `detail` is not written as text, however long that would be. `run_day` prunes the
# partitions.
_ENTRIES = """
select j.graph_exec_id, j.seq, j.at, j.command_id, j.type, j.node_exec_id, j.name,
       j.was, j.status,
       j.detail - case when j.type = 'graph.updated' then array['stats'] else
           array['execution_data', 'inputs', 'credential_inputs', 'nodes_input_masks'] end as detail
  from journal j
  join unnest($1::uuid[], $2::bigint[]) as x(id, before) on j.graph_exec_id = x.id
 where j.graph_exec_id = any ($1::uuid[]) and j.run_day = any ($3::date[])
   and j.seq < x.before
 order by j.graph_exec_id, j.seq
"""

NO_LIMIT = 2**62
# The day of a run names the partition of its steps and entries.
DAY_OF_RUN = "(select (created_at at time zone 'UTC')::date from graph_execution where id = {0})"


async def load_runs(
    connection: asyncpg.Connection,
    run_ids: Collection[str],
    before: Mapping[str, int] | None = None,
) -> dict[str, Run]:
    """The runs of `run_ids` that exist; each as it was before entry `before[id]`, else as now."""
    rows = await connection.fetch(_RUNS, list(run_ids))
    if not rows:
        return {}
    runs: dict[str, Run] = {}
    ids = [str(row["id"]) for row in rows]
    entries = await connection.fetch(
        _ENTRIES,
        ids,
        [(before or {}).get(run_id, NO_LIMIT) for run_id in ids],
        list({row["created_at"].date() for row in rows}),
    )
    partitions = {run_id: row["source_partition"] for run_id, row in zip(ids, rows, strict=True)}
    for record in entries:
        run_id, entry = str(record["graph_exec_id"]), entry_of(record)
        if run_id not in runs and entry.type is EntryType.GRAPH_CREATED:
            runs[run_id] = new_run(run_id, entry, partitions[run_id])
        if run_id in runs:
            evolve(runs[run_id], entry)
    for run_id, row in zip(ids, rows, strict=True):
        if run_id not in runs:
            runs[run_id] = _without_journal(
                row, [entry_of(r) for r in entries if str(r["graph_exec_id"]) == run_id]
            )
        runs[run_id].trimmed_at = row["trimmed_at"]
    return runs


def entry_of(record: Mapping[str, Any]) -> Entry:
    """A row of the journal, without its value."""
    node_exec_id, was, status = record["node_exec_id"], record["was"], record["status"]
    detail = record["detail"]
    return Entry(
        seq=record["seq"],
        type=EntryType(record["type"]),
        at=record["at"],
        command_id=str(record["command_id"]),
        node_exec_id=None if node_exec_id is None else str(node_exec_id),
        name=record["name"],
        was=None if was is None else ExecutionStatus(was),
        status=None if status is None else ExecutionStatus(status),
        detail=NO_DETAIL if detail is None else _decode_detail(detail),
    )


def _without_journal(row: asyncpg.Record, rest: Iterable[Entry]) -> Run:
    """A run whose journal was erased, but for the closing entry, or trimmed by retention."""
    run = Run(
        id=str(row["id"]),
        partition=row["source_partition"],
        user_id=row["user_id"],
        graph_id=row["graph_id"],
        graph_version=row["graph_version"],
        created_at=row["created_at"],
        dry_run=row["dry_run"],
        status=ExecutionStatus(row["status"]),
        last_seq=row["last_seq"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        updated_at=row["updated_at"],
        is_deleted=row["is_deleted"],
        is_shared=row["is_shared"],
        share_token_hash=row["share_token_hash"],
        shared_at=row["shared_at"],
    )
    for entry in rest:
        evolve(run, entry)
    return run


_WRITTEN = """
select user_id, key, updated_at
  from kv_data join unnest($1::text[], $2::text[]) as x(u, k) on user_id = x.u and key = x.k
"""
_APPLIED = """
select user_id, command_id
  from kv_journal join unnest($1::text[], $2::uuid[]) as x(u, c)
    on user_id = x.u and command_id = x.c
"""


async def load_key_values(
    connection: asyncpg.Connection,
    known: KeyValues,
    places: Collection[tuple[str, str]],
    commands: Collection[tuple[str, str]],
) -> None:
    """Add to `known` what is stored of (user, key) `places` and (user, command id) `commands`."""
    missing = [place for place in places if place not in known.written]
    written = await connection.fetch(_WRITTEN, *_columns(missing))
    applied = await connection.fetch(_APPLIED, *_columns(commands))
    # Only now: what is noted is not asked for again, and a query may fail.
    known.written.update(dict.fromkeys(missing))
    known.written.update({(row["user_id"], row["key"]): row["updated_at"] for row in written})
    known.applied.update((row["user_id"], str(row["command_id"])) for row in applied)


def _columns(pairs: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
