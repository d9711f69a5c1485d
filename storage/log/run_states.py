"""The states of runs, rebuilt from their journals by the fold that makes them live."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from execstream.storage.schema.tables import JOURNAL, RUNS
from execstream.storage.unreadable_rows import (
    NOT_AS_WRITTEN,
    Cell,
    UnreadableRun,
    unreadable_run,
)
from execstream.streams.fold import evolve, keep_stats, new_run
from execstream.streams.journal import NO_DETAIL, Detail, Entry, EntryType
from execstream.streams.key_values import KeyValues
from execstream.streams.state import Run, Step
from execstream.streams.statuses import FINAL, ExecutionStatus

_decode_detail = msgspec.json.Decoder(Detail).decode

# Without the inputs of runs, which may be megabytes.
_RUNS = """
select id, source_partition, user_id, graph_id, graph_version, created_at, dry_run, status,
       last_seq, started_at, ended_at, updated_at, is_deleted, is_shared, share_token_hash,
       shared_at, trimmed_at
  from graph_execution where id = any ($1::uuid[])
"""

# Entries as the fold needs them, without payloads: their text may be many times larger. The stats
# of a step are read when they turn out to be needed.
STATE_COLUMNS = """
       j.graph_exec_id, j.seq, j.at, j.command_id, j.type, j.node_exec_id, j.name, j.was, j.status,
       j.detail ? 'stats' as has_stats,
       case when jsonb_typeof(j.detail) = 'object' then j.detail - array[
           'stats', 'execution_data', 'inputs', 'credential_inputs', 'nodes_input_masks']
       else j.detail end as detail"""
# A page at a time, since a run may have any number of them. `run_day` prunes the partitions.
_ENTRIES = f"""
select {STATE_COLUMNS}
  from journal j
  join unnest($1::uuid[], $2::bigint[]) as x(id, before) on j.graph_exec_id = x.id
 where j.graph_exec_id = any ($1::uuid[]) and j.run_day = any ($3::date[])
   and j.seq < x.before and (j.graph_exec_id, j.seq) > ($4, $5)
 order by j.graph_exec_id, j.seq limit $6
"""
_STATS = """
select detail -> 'stats' from journal
 where graph_exec_id = $1 and run_day = $2 and seq = $3
"""
PAGE = 2_000  # entries

NO_LIMIT = 2**62
# The day of a run names the partition of its steps and entries.
DAY_OF_RUN = "(select (created_at at time zone 'UTC')::date from graph_execution where id = {0})"


Unreadable = Callable[[UnreadableRun], None]


def refuse(error: UnreadableRun) -> None:
    """Raise `error`: nothing is read around it."""
    raise error


async def load_runs(
    connection: asyncpg.Connection,
    run_ids: Collection[str],
    before: Mapping[str, int] | None = None,
    *,
    unreadable: Unreadable = refuse,
    with_stats: bool = False,
) -> dict[str, Run]:
    """The runs of `run_ids` that exist; each as it was before entry `before[id]`, else as now.

    `unreadable` is called for each run that cannot be read, which is left out if that returns.
    `with_stats`: with the stats of steps, which only the rules ask about.
    """
    rows = {str(row["id"]): row for row in await connection.fetch(_RUNS, list(run_ids))}
    loading = _Loading({run_id: row["source_partition"] for run_id, row in rows.items()})
    limits = [(before or {}).get(run_id, NO_LIMIT) for run_id in rows]
    days = {row["created_at"].date() for row in rows.values()}
    last: tuple[UUID, int] | None = (UUID(int=0), 0) if rows else None
    while last is not None:
        page = await connection.fetch(_ENTRIES, list(rows), limits, list(days), *last, PAGE)
        for record in page:
            loading.add(record)
        last = (page[-1]["graph_exec_id"], page[-1]["seq"]) if len(page) == PAGE else None
    for run_id, row in rows.items():
        loading.end(run_id, row)
    if with_stats:
        for step, run_id, seq in loading.stats():
            stats = await connection.fetchval(
                _STATS, run_id, rows[run_id]["created_at"].date(), seq
            )
            if stats is not None and stats.startswith("{"):
                keep_stats(loading.runs[run_id], step, stats.encode())
            else:
                cell = Cell(JOURNAL.name, f"entry {seq}", "detail")
                loading.fail(run_id, TypeError("the stats of a step are no object"), cell)
    for error in loading.errors.values():
        unreadable(error)
    return loading.runs


class _Loading:
    """Runs that are folded from rows of the journal, each by itself."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self.runs: dict[str, Run] = {}
        self.errors: dict[str, UnreadableRun] = {}
        self._partitions = partitions
        self._rests: dict[str, list[Entry]] = {}  # of runs without a beginning
        self._stats: dict[tuple[str, str], int] = {}  # entry of the newest, by run and step

    def add(self, record: asyncpg.Record) -> None:
        """Fold the next entry of a run."""
        run_id = str(record["graph_exec_id"])
        if run_id not in self.errors:
            try:
                self._add(run_id, entry_of(record), has_stats=record["has_stats"])
            except NOT_AS_WRITTEN as error:
                self.fail(run_id, error, entry_cell(record))

    def _add(self, run_id: str, entry: Entry, *, has_stats: bool | None) -> None:
        run = self.runs.get(run_id)
        if run is None and entry.type is EntryType.GRAPH_CREATED:
            run = self.runs[run_id] = new_run(run_id, entry, self._partitions[run_id])
        if run is None:
            self._rests.setdefault(run_id, []).append(entry)
            return
        evolve(run, entry)
        if has_stats and entry.node_exec_id is not None:
            self._stats[run_id, entry.node_exec_id] = entry.seq

    def end(self, run_id: str, row: asyncpg.Record) -> None:
        """Set the fields that only the row of a run has."""
        if run_id in self.errors:
            return
        try:
            if run_id not in self.runs:
                self.runs[run_id] = _without_journal(row, self._rests.get(run_id, ()))
            self.runs[run_id].trimmed_at = row["trimmed_at"]
        except NOT_AS_WRITTEN as error:
            self.fail(run_id, error, Cell(RUNS.name))

    def stats(self) -> Iterator[tuple[Step, str, int]]:
        """Steps that are not over and have stats, their run, and the entry with the newest."""
        for (run_id, step_id), seq in self._stats.items():
            run = self.runs.get(run_id)
            step = None if run is None else run.steps.get(step_id)
            if step is not None and step.status not in FINAL:
                yield step, run_id, seq

    def fail(self, run_id: str, error: BaseException, cell: Cell) -> None:
        """Leave the run out, because of `error`."""
        self.errors[run_id] = unreadable_run(run_id, error, cell)
        self.runs.pop(run_id, None)


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


_READ = {
    "type": EntryType,
    "was": ExecutionStatus,
    "status": ExecutionStatus,
    "detail": _decode_detail,
}


def entry_cell(record: Mapping[str, Any]) -> Cell:
    """An entry, and the first column for which `entry_of` fails, if it fails for one by itself."""
    cell = Cell(JOURNAL.name, f"entry {record['seq']}")
    for column, read in _READ.items():
        try:
            if (value := record.get(column)) is not None:
                read(value)
        except NOT_AS_WRITTEN:
            return cell._replace(column=column)
    return cell


def _without_journal(row: asyncpg.Record, rest: Iterable[Entry]) -> Run:
    """A run whose journal was erased, except for the closing entry, or trimmed by retention."""
    if row["trimmed_at"] is None and not row["is_deleted"]:
        raise LookupError("its journal is missing")
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
    """Add to `known` the stored state of (user, key) `places` and (user, command id) `commands`."""
    missing = [place for place in places if place not in known.written]
    written = await connection.fetch(_WRITTEN, *_columns(missing))
    applied = await connection.fetch(_APPLIED, *_columns(commands))
    # Only now: known places are not asked for again, and a query may fail.
    known.written.update(dict.fromkeys(missing))
    known.written.update({(row["user_id"], row["key"]): row["updated_at"] for row in written})
    known.applied.update((row["user_id"], str(row["command_id"])) for row in applied)


def _columns(pairs: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
