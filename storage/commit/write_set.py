"""The write set of a batch: its rows, and the one statement that writes them.

Rows are tuples in the column order of their tables (`migrations/0001_tables.sql`). They are made
from the states after the batch: a step that is queued, run and completed within it is one row, but
three entries of the journal.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg
import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.fitted_rows import fit_rows, noticing_new_columns
from execstream.storage.commit.quarantine_rows import QuarantineRows, write_quarantine
from execstream.storage.schema.tables import (
    DEAD_LETTERS,
    JOURNAL,
    KEY_VALUE_JOURNAL,
    REFUSALS,
    RUNS,
    STEPS,
)
from execstream.streams.append_time import record_time
from execstream.streams.commands import Command, RunCommand, SetKeyValue
from execstream.streams.journal import NO_DETAIL, Detail, Entry, EntryType
from execstream.streams.omitted import OmittedValue
from execstream.streams.outcomes import Dead, Refused, detail_json
from execstream.streams.quarantine import SetAside
from execstream.streams.state import Run, Step
from execstream.streams.text import clean_json

Row = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode
# Of a dead letter's value. Readers hold no more of a record; a message to Postgres ends at 1 GiB.
MAX_DEAD_BYTES = 24 * 1024 * 1024
# Limits of a worker's commit, without its last command; some 0.3 s of Postgres.
MAX_ENTRIES = 4_000
MAX_BYTES = 4 * 1024 * 1024  # of values and details


@dataclass(slots=True)
class _RunChange:
    run: Run
    day: date
    created: Detail | None = None
    stats: str | None = None
    erased: bool = False


class _StepChange(Struct, gc=False):
    step: Step
    execution_data: str | None = None
    stats: str | None = None


@dataclass(slots=True)
class WriteSet:
    """Collects while a batch is folded; `build_rows` makes the rows.

    `begun`: the number of runs that began, by their day and the day on which the broker appended
    the record that created them, which is None where it is unknown.
    """

    entries: list[Row] = field(default_factory=list)
    key_values: list[Row] = field(default_factory=list)
    refusals: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    run_rows: list[Row] = field(default_factory=list)
    step_rows: list[Row] = field(default_factory=list)
    bytes: int = 0  # of the values and details of entries, in characters
    quarantine: QuarantineRows = field(default_factory=QuarantineRows)
    begun: Counter[tuple[date, date | None]] = field(default_factory=Counter)
    _runs: dict[str, _RunChange] = field(default_factory=dict)
    _steps: dict[tuple[str, str], _StepChange] = field(default_factory=dict)

    @property
    def erased(self) -> list[str]:
        return [run_id for run_id, change in self._runs.items() if change.erased]

    @property
    def is_full(self) -> bool:
        """Return whether it should be committed before more is added."""
        return is_full(len(self.entries), self.bytes)

    def run_ids(self) -> Iterable[str]:
        return self._runs

    def add_begun_run(self, run: Run, appended_at: datetime | None) -> None:
        """`run` began, by a record that the broker appended then; None: unknown."""
        self.begun[run_day(run), appended_at and appended_at.date()] += 1

    def add_entry(self, run: Run, entry: Entry, partition: int, offset: int, index: int) -> None:
        """`entry` happened to `run`, which has evolved by it."""
        change = self._runs.get(run.id)
        if change is None:
            change = self._runs[run.id] = _RunChange(run, run_day(run))
        detail = entry.detail
        if entry.node_exec_id is not None:
            if entry.data is None:
                self._change_step(run, entry.node_exec_id, detail)
        elif entry.type is EntryType.GRAPH_CREATED:
            change.created = detail
        elif detail.stats is not UNSET:
            change.stats = _text(detail.stats)
        elif detail.hard:
            self._erase(change)
        data = None if entry.data is None else _text(entry.data)
        detail_text = None if detail is NO_DETAIL else _encode(detail).decode()
        self.bytes += len(data or "") + len(detail_text or "")
        self.entries.append(
            (
                run.id,
                entry.seq,
                change.day,
                entry.at,
                entry.command_id,
                entry.type,
                entry.node_exec_id,
                entry.name,
                data,
                detail_text,
                entry.was,
                entry.status,
                partition,
                offset,
                index,
            )
        )

    def _change_step(self, run: Run, step_id: str, detail: Detail) -> None:
        key = (run.id, step_id)
        change = self._steps.get(key)
        if change is None:
            change = self._steps[key] = _StepChange(run.steps[step_id])
        if detail.execution_data is not UNSET:
            change.execution_data = _text(detail.execution_data)
        if detail.stats is not UNSET:
            change.stats = _text(detail.stats)

    def _erase(self, change: _RunChange) -> None:
        run_id = change.run.id
        change.erased, change.created, change.stats = True, None, None
        self.entries = [row for row in self.entries if row[0] != run_id]
        self._steps = {key: step for key, step in self._steps.items() if key[0] != run_id}

    def add_key_value(self, command: SetKeyValue, partition: int, offset: int) -> None:
        self.key_values.append(
            (
                command.user_id,
                command.name,
                command.node_exec_id,
                _text(command.data),
                command.time,
                command.id,
                partition,
                offset,
            )
        )

    def add_refusal(self, command: Command, refused: Refused, partition: int, offset: int) -> None:
        self.refusals.append(
            (
                partition,
                offset,
                command.id,
                command.graph_exec_id if isinstance(command, RunCommand) else None,
                command.user_id,
                command.type,
                refused.reason.value,
                detail_json(refused.detail).decode(),
                command.time,
            )
        )

    def add_dead_letter(self, record: Any, dead: Dead, base: int = 0) -> None:
        """`record`: a Kafka record with topic, partition, offset, key, value, headers, timestamp
        (milliseconds). `base`: the partition's, which distinguishes topics of one name.
        """
        self.dead_letters.append(
            (
                dead_letter_id(record.topic, record.partition, record.offset + base),
                record.topic,
                record.partition,
                record.offset,
                record.key,
                _kept_value(record.value),
                _headers_text(record.headers),
                dead.reason.value,
                detail_json(dead.detail).decode(),
                record_time(record.timestamp),
                None,
            )
        )

    def add_set_aside(self, record: Any, set_aside: SetAside) -> None:
        """`record`, a Kafka record, goes into quarantine."""
        outcome, sender, failed = set_aside
        value = _kept_value(record.value) if set_aside.is_open else None
        row = (
            record.topic,
            record.partition,
            record.offset,
            record.key,
            value,
            _headers_text(record.headers),
            len(record.value or b""),
            outcome.reason.value,
            detail_json(outcome.detail).decode(),
            sender.command_id,
            sender.user_id,
            record_time(record.timestamp),
        )
        self.quarantine.add(row, is_open=set_aside.is_open, failed=failed)

    def build_rows(self) -> None:
        """Make the rows of runs and steps, in the order of their ids: no deadlocks."""
        self.run_rows = [_run_row(self._runs[run_id]) for run_id in sorted(self._runs)]
        self.step_rows = [
            _step_row(self._runs[key[0]], self._steps[key]) for key in sorted(self._steps)
        ]


def is_full(entries: int, size: int) -> bool:
    """Return whether so many entries with so many bytes fill a commit."""
    return entries >= MAX_ENTRIES or size >= MAX_BYTES


def run_day(run: Run) -> date:
    """The UTC day a run was created on; its steps and journal are partitioned by it."""
    return run.created_at.date()


def dead_letter_id(topic: str, partition: int, offset: int) -> str:
    """Return the id of the dead letter of a record; every writer gets the same."""
    return str(uuid5(NAMESPACE_URL, f"execstream:{topic}/{partition}/{offset}"))


def _run_row(change: _RunChange) -> Row:
    run, created = change.run, change.created or NO_DETAIL
    return (
        run.id,
        run.user_id,
        run.graph_id,
        run.graph_version,
        run.status,
        _text(created.inputs),
        _text(created.credential_inputs),
        _text(created.nodes_input_masks),
        _value(created.preset_id),
        _value(created.parent_graph_exec_id),
        run.dry_run,
        change.stats,
        run.is_deleted,
        run.is_shared,
        run.share_token_hash,
        run.shared_at,
        run.created_at,
        run.started_at,
        run.ended_at,
        run.updated_at,
        run.last_seq,
        run.partition,
        run.trimmed_at,
        _text(created.attributes),
    )


def _step_row(run_change: _RunChange, change: _StepChange) -> Row:
    step = change.step
    return (
        step.id,
        run_change.run.id,
        run_change.day,
        step.node_id,
        step.block_id,
        step.status,
        change.execution_data,
        change.stats,
        step.added_seq,
        step.added_time,
        step.queued_time,
        step.started_time,
        step.ended_time,
    )


def _text(json: Raw | UnsetType) -> str | None:
    return None if isinstance(json, UnsetType) else str(json, "utf-8")


def _value(value: str | UnsetType) -> str | None:
    return None if isinstance(value, UnsetType) else value


def _kept_value(value: bytes | None) -> bytes | None:
    """`value`, or None where it was omitted or is larger than a row may be."""
    is_omitted = isinstance(value, OmittedValue) or len(value or b"") > MAX_DEAD_BYTES
    return None if is_omitted else value


def _headers_text(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """A list of [name, base64 of the value or null]: headers are bytes and may repeat."""
    listed = [[name, value and base64.b64encode(value).decode()] for name, value in headers]
    return clean_json(_encode(listed)).decode()


_COMMIT = "select commit_commands($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


async def commit(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    write_set: WriteSet,
) -> bool:
    """Commit a batch as a whole; true when it was there already (the answer had got lost).

    Raises a Postgres error with SQLSTATE `progress.FENCED` when a partition was taken over, and
    with `progress.CREATED_ELSEWHERE` when a run came into being on another partition.
    """
    if not write_set.quarantine:
        return await _commit(connection, consumer, topic, offset_commits, write_set)
    async with connection.transaction():
        was_there = await _commit(connection, consumer, topic, offset_commits, write_set)
        if not was_there:
            await write_quarantine(connection, consumer, topic, write_set.quarantine)
        return was_there


async def _commit(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    write_set: WriteSet,
) -> bool:
    fitted = await fit_rows(
        connection,
        {
            RUNS: write_set.run_rows,
            STEPS: write_set.step_rows,
            JOURNAL: write_set.entries,
            KEY_VALUE_JOURNAL: write_set.key_values,
            REFUSALS: write_set.refusals,
            DEAD_LETTERS: write_set.dead_letters,
        },
    )
    runs, *others = fitted
    offsets = [offset_commit.row() for offset_commit in offset_commits]
    with noticing_new_columns():
        return bool(
            await connection.fetchval(
                _COMMIT, consumer, topic, offsets, runs, write_set.erased, *others
            )
        )
