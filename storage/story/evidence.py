"""Records of a run in Postgres: its journal, refusals, dead letters, and names of blocks.

Values of pins, inputs, stats and dead letters stay where they are; of stats only the error is read.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from execstream.storage.log.run_states import entry_cell
from execstream.storage.querying import parse_id, snapshot
from execstream.storage.schema.tables import DEAD_LETTERS, REFUSALS, Table
from execstream.storage.unreadable_rows import Cell, reading
from execstream.streams.errors import Fatal
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import DeadReason, Refusal
from execstream.streams.statuses import ExecutionStatus

RecordPosition = tuple[int, int]
"""Partition and offset of a record in the commands topic."""


class Happened(NamedTuple):
    """An entry of the journal; `place` is that of its command."""

    seq: int
    at: datetime
    command_id: str
    type: EntryType
    node_exec_id: str | None
    name: str | None
    was: ExecutionStatus | None
    status: ExecutionStatus | None
    error: str | None
    child: str | None
    is_shared: bool
    hard: bool
    skipped: Mapping[str, str | None] | None
    place: RecordPosition


class RefusedOne(NamedTuple):
    """A command that changed nothing."""

    at: datetime
    command_id: str
    user_id: str
    command_type: str
    reason: Refusal
    detail: Mapping[str, Any]
    place: RecordPosition


class DeadOne(NamedTuple):
    """A record under the run's key that was no command. `at` is Kafka's time."""

    at: datetime
    id: str
    reason: DeadReason
    detail: Mapping[str, Any]
    place: RecordPosition


class HeldOne(NamedTuple):
    """A record under the run's key that waits in quarantine. `at` is Kafka's time; without an
    `error` it waits behind another."""

    at: datetime
    command_id: str | None
    error: str | None
    place: RecordPosition


class Step(NamedTuple):
    """Which block a step runs, by the name that the catalogue has for it."""

    node_id: str
    block: str


class TooManyRecords(Fatal):
    """There are more entries, refusals, dead letters and held records than a caller takes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"There are more than {most:,} records of the run.")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is. Places are Kafka's own. `run` is None when there never was one."""

    run_id: str
    run: Mapping[str, Any] | None
    entries: list[Happened]
    refusals: list[RefusedOne]
    letters: list[DeadOne]
    held: list[HeldOne]
    steps: Mapping[str, Step]


_RUN = """
select run.*, (run.created_at at time zone 'UTC')::date as run_day, graph.name as graph_name
  from graph_execution run
  left join graph on graph.id = run.graph_id and graph.version = run.graph_version
 where run.id = $1
"""
_ENTRIES = """
select seq, at, command_id, type, node_exec_id, name, was, status,
       left(detail -> 'stats' ->> 'error', 2000) as error,
       detail -> 'stats' ->> 'child_graph_exec_id' as child,
       coalesce(detail -> 'is_shared' = 'true', false) as is_shared,
       coalesce(detail -> 'hard' = 'true', false) as hard,
       case when $3::bigint is null then detail -> 'skipped' end as skipped,
       source_partition, source_offset
  from journal where graph_exec_id = $1 and run_day = $2 order by seq limit $3
"""
_REFUSALS = """
select at, command_id, user_id, command_type, reason,
       case when $2::bigint is null or jsonb_typeof(detail) <> 'object' then detail
            else detail - 'skipped' end as detail,
       source_partition, source_offset
  from refusal where graph_exec_id = $1 order by source_partition, source_offset limit $2
"""
# By key, which no index knows: there are few dead letters.
_LETTERS = """
select received_at, id, reason, detail, partition, "offset"
  from dead_letter where key = $1 and topic = $2 order by partition, "offset" limit $3
"""
_HELD = """
select received_at, command_id, detail ->> 'error' as error, partition, "offset"
  from quarantine where key = $1 and topic = $2 and released_at is null
 order by partition, "offset" limit $3
"""
_STEPS = """
select node_exec_id as id, detail ->> 'node_id' as node_id,
       coalesce(block.name, detail ->> 'block_id') as block
  from journal left join block on block.id = detail ->> 'block_id'
 where graph_exec_id = $1 and run_day = $2 and type = 'node.added'
"""
_BASES = """
select partition, base from consumer_offset where consumer = 'apply' and topic = $1
"""


async def gather(db: asyncpg.Pool, topic: str, run_id: str, most: int | None = None) -> Evidence:
    """Return the records of the run of that id, which may be deleted, or never have been created.

    Args:
        db: the pool of `execstream.storage.connections`.
        topic: the commands topic, as Kafka knows it.
        run_id: the run, also of records that name one that there never was.
        most: records that the caller takes; None: any number. With it the steps that commands
            skipped are left out, of which each may name a thousand.

    Raises UnreadableRun, and TooManyRecords.
    """
    limit = None if most is None else most + 1
    async with snapshot(db) as connection:
        bases: dict[int, int] = dict(await connection.fetch(_BASES, topic))
        run = await connection.fetchrow(_RUN, parse_id(run_id))
        place = (parse_id(run_id), None if run is None else run["run_day"])
        entries = await connection.fetch(_ENTRIES, *place, limit)
        refusals = await connection.fetch(_REFUSALS, place[0], limit)
        letters = await connection.fetch(_LETTERS, run_id.encode(), topic, limit)
        held = await connection.fetch(_HELD, run_id.encode(), topic, limit)
        if most is not None and sum(map(len, (entries, refusals, letters, held))) > most:
            raise TooManyRecords(most)
        steps = await connection.fetch(_STEPS, *place)

    def at_kafka(row: asyncpg.Record) -> RecordPosition:
        partition, offset = row["source_partition"], row["source_offset"]
        return partition, offset - bases.get(partition, 0)

    return Evidence(
        run_id,
        run,
        [_happened(run_id, row, at_kafka(row)) for row in entries],
        [_refused(run_id, row, at_kafka(row)) for row in refusals],
        [_dead(run_id, row) for row in letters],
        [_held(row) for row in held],
        {str(row["id"]): Step(row["node_id"], row["block"]) for row in steps},
    )


def _happened(run_id: str, row: asyncpg.Record, place: RecordPosition) -> Happened:
    seq, at, command_id, kind, step_id, name, was, status, error, *others = row
    child, is_shared, hard, skipped, *_ = others
    with reading(run_id, entry_cell(row)):
        return Happened(
            seq,
            at,
            str(command_id),
            EntryType(kind),
            step_id and str(step_id),
            name,
            was and ExecutionStatus(was),
            status and ExecutionStatus(status),
            error,
            None if child is None or parse_id(child) is None else child,
            is_shared,
            hard,
            skipped and dict(skipped),
            place,
        )


def _held(row: asyncpg.Record) -> HeldOne:
    at, command_id, error, *place = row
    return HeldOne(at, command_id and str(command_id), error, (place[0], place[1]))


def _refused(run_id: str, row: asyncpg.Record, place: RecordPosition) -> RefusedOne:
    at, command_id, user_id, command_type, reason, detail, *_ = row
    with telling(run_id, REFUSALS):
        known = Refusal(reason)
        return RefusedOne(at, str(command_id), user_id, command_type, known, dict(detail), place)


def _dead(run_id: str, row: asyncpg.Record) -> DeadOne:
    at, letter_id, reason, detail, partition, offset = row
    with telling(run_id, DEAD_LETTERS):
        known = DeadReason(reason)
        return DeadOne(at, str(letter_id), known, dict(detail), (partition, offset))


def telling(run_id: str, table: Table) -> AbstractContextManager[None]:
    """Name `table` as the one of which a row about the run cannot be read."""
    return reading(run_id, Cell(table.name))
