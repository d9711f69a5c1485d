"""Commands that make a step: its creation with its inputs, its moves, its outputs.

A column with a value that no legal way leads to is a difference; the nearest legal way is taken.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from execstream.recovery.history_import.derived_ids import command_id, execution_id, moment
from execstream.recovery.history_import.source_rows import (
    Difference,
    Json,
    RowId,
    SourceRun,
    SourceStep,
    Table,
    Value,
)
from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    RunCommand,
    StartingNode,
    UpdateNode,
)
from execstream.streams.statuses import FINAL
from execstream.streams.statuses import ExecutionStatus as S

# Below this a starting step was queued by the creation of its run, and later it was resumed.
RESUMED_AFTER = timedelta(seconds=1)


class Planned(NamedTuple):
    """A command, the row that it is about, and its time in the order of the run."""

    order: datetime
    row: RowId
    command: RunCommand


def is_given(text: Json) -> bool:
    """Return whether there is a value other than null."""
    return text is not None and text != "null"


def document(text: Json) -> Raw | UnsetType:
    """Return a JSON object of the original; another value is put into one."""
    if not is_given(text):
        return UNSET
    assert text is not None  # noqa: S101 - shows the type checker
    return Raw(text.encode() if text.startswith("{") else b'{"value":%b}' % text.encode())


def any_json(text: Json) -> Raw:
    """Return a JSON value of the original."""
    return Raw(b"null" if text is None else text.encode())


class StepCommands:
    """The commands of one step of a run."""

    def __init__(self, run: SourceRun, step: SourceStep, inputs: list[Value]) -> None:
        self._run, self._step, self._inputs = run, step, inputs
        self._row = RowId(Table.STEPS, step.id)
        self._about: dict[str, Any] = {
            "user_id": run.user_id,
            "graph_exec_id": execution_id(run.id),
        }
        self._id = execution_id(step.id)
        self.is_starting = step.added <= run.created or not inputs
        if inputs and self.is_starting and any(self._deviations()):
            self.is_starting = False  # its first input can create it, at any time

    def starting_node(self) -> StartingNode:
        """Return the step as a part of the creation of its run."""
        return StartingNode(
            node_id=self._step.node_id,
            block_id=self._step.block_id or "",
            inputs={one.name: any_json(one.data) for one in self._inputs},
            node_exec_id=self._id,
        )

    @property
    def left_incomplete(self) -> datetime | None:
        """When it ceased to take inputs; None if it does so still."""
        if self._step.status == S.INCOMPLETE:
            return None
        times = (self._step.queued, self._step.started, self._step.ended, self._step.added)
        return next(time for time in times if time is not None)

    def creation(self) -> Iterator[Planned]:
        """Yield the commands that make a step that is not a starting one."""
        for number, value in enumerate(self._inputs):
            time = value.time if number else self._step.added
            command = AddNodeInput(
                id=command_id("input", value.id),
                at=moment(time),
                node_id=self._step.node_id,
                block_id=self._step.block_id or "",
                input_name=value.name,
                input_data=any_json(value.data),
                node_exec_id=self._id if number else None,
                new_node_exec_id=None if number else self._id,
                **self._about,
            )
            row = self._row if number == 0 else RowId(Table.VALUES, value.id)
            yield Planned(time, row, command)

    def outputs(self) -> Iterator[Planned]:
        """Yield the commands of its outputs."""
        for value in self._step.outputs:
            command = AddNodeOutput(
                id=command_id("output", value.id),
                at=moment(value.time),
                node_exec_id=self._id,
                output_name=value.name,
                output_data=any_json(value.data),
                **self._about,
            )
            yield Planned(value.time, RowId(Table.VALUES, value.id), command)

    def moves(self) -> list[Planned]:
        """Return its moves; the last one brings its stats."""
        way, data = self._way(), self._step.execution_data
        is_queued = any(status is S.QUEUED for status, _ in way)
        if is_queued and not is_given(data):
            data = self._queued_data
        moves = []
        for number, (status, time) in enumerate(way):
            is_last = number == len(way) - 1
            has_data = status is S.QUEUED if is_queued else is_last
            stats = document(self._step.stats) if is_last else UNSET
            command = UpdateNode(
                id=command_id("step", self._step.id, status, time, number),
                at=moment(time),
                node_exec_id=self._id,
                status=status,
                execution_data=document(data) if has_data else UNSET,
                stats=stats,
                **self._about,
            )
            moves.append(Planned(time, self._row, command))
        return moves

    @property
    def _queued_data(self) -> str:
        """Inputs as the data that a step is queued with, where the original stored none."""
        values = {one.name: any_json(one.data) for one in self._inputs}
        return msgspec.json.encode(values).decode()

    def _way(self) -> list[tuple[S, datetime]]:
        """The moves after its creation, which leaves a starting step QUEUED and others INCOMPLETE.

        Times of an earlier pass show that the step was halted and resumed: REVIEW stands for that.
        """
        step, status = self._step, S(self._step.status)
        if status is S.INCOMPLETE:
            return []
        queued = step.queued or (step.added if status is S.QUEUED else None)
        started = step.started
        if started is None and status in (S.RUNNING, S.COMPLETED, S.REVIEW):
            started = queued or step.added
        way: list[tuple[S, datetime]] = []
        if started is not None and queued is not None and status is S.QUEUED and step.started:
            way = [(S.RUNNING, started), (S.REVIEW, queued), (S.QUEUED, queued)]
        else:
            if queued is not None and not self.is_starting:
                way.append((S.QUEUED, queued))
            elif queued is not None and queued - self._run.created >= RESUMED_AFTER:
                way += [(S.RUNNING, queued), (S.REVIEW, queued), (S.QUEUED, queued)]
            if started is not None:
                way.append((S.RUNNING, started))
            if status not in (S.QUEUED, S.RUNNING):
                way.append((status, self._end(queued, started)))
        return way

    def _end(self, queued: datetime | None, started: datetime | None) -> datetime:
        if self._step.ended is not None:
            return self._step.ended
        return started or queued or self._step.added

    def differences(self) -> list[Difference]:
        """Return the columns that get another value."""
        return [
            Difference(self._row, column, original, imported)
            for column, original, imported in self._deviations()
        ]

    def _deviations(self) -> Iterator[tuple[str, object, object]]:
        step, status = self._step, S(self._step.status)
        way = dict(self._way())
        if execution_id(step.id) != step.id:
            yield "id", step.id, self._id
        if self.is_starting and abs(step.added - self._run.created) >= RESUMED_AFTER:
            yield "addedTime", step.added, self._run.created
        queued = way.get(S.QUEUED) or (self._run.created if self.is_starting else None)
        if queued != step.queued and not self._is_queued_by_creation():
            yield "queuedTime", step.queued, queued
        if way.get(S.RUNNING) != step.started:
            yield "startedTime", step.started, way.get(S.RUNNING)
        ended = way.get(status) if status in FINAL else None
        if ended != step.ended:
            yield "endedTime", step.ended, ended
        yield from self._document_deviations(has_moves=bool(way))

    def _is_queued_by_creation(self) -> bool:
        queued = self._step.queued
        return (
            self.is_starting
            and queued is not None
            and abs(queued - self._run.created) < RESUMED_AFTER
        )

    def _document_deviations(self, *, has_moves: bool) -> Iterator[tuple[str, object, object]]:
        for column, text in (
            ("stats", self._step.stats),
            ("executionData", self._step.execution_data),
        ):
            if text is None or not is_given(text):
                continue
            if not has_moves:
                yield column, text, None
            elif not text.startswith("{"):
                yield column, text, "an object"
