"""The small contenders' fold: a dictionary machine over runs and steps, in memory.

It is also where the expected final state comes from: the contenders that fold in SQL are compared
with it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.contenders.plain_commands import (
    AnyPlain,
    Create,
    Input,
    Output,
    Start,
    Step,
    Update,
    read,
    text,
)
from bench.contenders.small_schema import Final
from execstream.streams.rules import derived_id
from execstream.streams.statuses import ALLOWED_FROM, ENDED

Row = tuple[Any, ...]
SOURCES = {str(to): {str(one) for one in sources} for to, sources in ALLOWED_FROM.items()}
OVER = {str(status) for status in ENDED}


@dataclass(slots=True)
class SmallRun:
    created: Row
    status: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    steps: list["SmallStep"] = field(default_factory=list)


@dataclass(slots=True)
class SmallStep:
    id: str
    run_id: str
    node_id: str
    block_id: str
    status: str
    added: datetime
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    pins: set[str] = field(default_factory=set)


class Changes:
    """The rows of a batch."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Any]] = {}  # run, stats
        self.steps: dict[str, list[Any]] = {}  # step, execution_data, stats
        self.values: list[Row] = []

    def rows(self) -> tuple[list[Row], list[Row], list[Row]]:
        """Rows of runs, steps and values, in the order of their columns."""
        runs = [
            (
                *(*run.created[:4], run.status, run.created[4], stats),
                *(run.created_at, run.started_at, run.ended_at),
            )
            for run, stats in self.runs.values()
        ]
        steps = [
            (
                *(step.id, step.run_id, step.node_id, step.block_id, step.status, data, stats),
                *(step.added, step.queued, step.started, step.ended),
            )
            for step, data, stats in self.steps.values()
        ]
        return runs, steps, self.values


class SmallMachine:
    """All runs; `changes` are those since they were last taken."""

    def __init__(self) -> None:
        self.runs: dict[str, SmallRun] = {}
        self.steps: dict[str, SmallStep] = {}
        self.seen: dict[str, Row] = {}  # values by the id of their command
        self.changes = Changes()

    def take(self) -> Changes:
        """The changes since the last call."""
        changes, self.changes = self.changes, Changes()
        return changes

    def final(self) -> Final:
        """All rows, as `find_difference` wants them."""
        runs = {key: (run.status, run.started_at, run.ended_at) for key, run in self.runs.items()}
        steps = {
            key: (one.run_id, one.node_id, one.status, one.queued, one.started, one.ended)
            for key, one in self.steps.items()
        }
        return Final(runs, steps, self.seen)

    def apply(self, value: bytes) -> AnyPlain | None:
        """Fold one record; its command, or None when it is left out."""
        command = read(value)
        if command is None:
            return None
        if isinstance(command, Create):
            self._create(command)
        elif run := self.runs.get(command.graph_exec_id):
            self._change(run, command)
        return command

    def _change(self, run: SmallRun, command: AnyPlain) -> None:
        if isinstance(command, Output):
            if command.node_exec_id in self.steps:
                self._add_value(command, command.node_exec_id, is_output=True)
        elif isinstance(command, Step):
            self._move_step(command)
        elif isinstance(command, Input):
            self._add_input(run, command)
        elif isinstance(command, Start):
            self._move_run(run, command, "RUNNING", None)
        elif isinstance(command, Update):
            self._move_run(run, command, command.status, text(command.stats))

    def _create(self, command: Create) -> None:
        run_id = command.graph_exec_id
        if run_id in self.runs:
            return
        created = (run_id, command.user_id, command.graph_id, command.graph_version)
        run = SmallRun((*created, text(command.inputs)), "INCOMPLETE", command.at)
        self.runs[run_id] = run
        self.changes.runs[run_id] = [run, None]
        for index, node in enumerate(command.starting_nodes):
            step_id = derived_id(command.id, f"starting/{index}")
            step = self._add_step(run, run_id, node, step_id, "QUEUED", command.at)
            step.queued = command.at
            for pin, data in node.inputs.items():
                step.pins.add(pin)
                value_id = derived_id(command.id, f"{index}/{pin}")
                self._store(value_id, step_id, pin, data, command.at, is_output=False)

    def _add_step(
        self, run: SmallRun, run_id: str, node: Any, step_id: str, status: str, at: datetime
    ) -> SmallStep:
        step = SmallStep(step_id, run_id, node.node_id, node.block_id, status, at)
        self.steps[step_id] = step
        run.steps.append(step)
        self.changes.steps[step_id] = [step, None, None]
        return step

    def _add_input(self, run: SmallRun, command: Input) -> None:
        if command.id in self.seen:
            return
        if command.node_exec_id is not None:
            step = self.steps.get(command.node_exec_id)
            if step is None or not _takes(step, command):
                return
        else:
            found = (one for one in run.steps if one.node_id == command.node_id)
            step = next((one for one in found if _takes(one, command)), None)
        if step is None:
            step_id = command.new_node_exec_id or derived_id(command.id, "node")
            run_id = command.graph_exec_id
            step = self._add_step(run, run_id, command, step_id, "INCOMPLETE", command.at)
        step.pins.add(command.input_name)
        self._add_value(command, step.id, is_output=False)

    def _add_value(self, command: Input | Output, step_id: str, *, is_output: bool) -> None:
        if isinstance(command, Output):
            name, data = command.output_name, command.output_data
        else:
            name, data = command.input_name, command.input_data
        if command.id not in self.seen:
            self._store(command.id, step_id, name, data, command.at, is_output=is_output)

    def _store(
        self, value_id: str, step_id: str, name: str, data: Any, at: datetime, *, is_output: bool
    ) -> None:
        self.seen[value_id] = (step_id, is_output, name)
        self.changes.values.append((value_id, step_id, is_output, name, text(data), at))

    def _move_step(self, command: Step) -> None:
        step = self.steps.get(command.node_exec_id)
        if step is None or step.status not in SOURCES.get(command.status, ()):
            return
        _move(step, command.status, command.at)
        change = self.changes.steps.setdefault(step.id, [step, None, None])
        change[1] = text(command.execution_data) or change[1]
        change[2] = text(command.stats) or change[2]

    def _move_run(
        self, run: SmallRun, command: AnyPlain, to: str | None, stats: str | None
    ) -> None:
        if to is not None:
            if run.status not in SOURCES.get(to, ()):
                return
            run.status = to
            run.ended_at = command.at if to in OVER else None
            if isinstance(command, Start) or (to == "RUNNING" and run.started_at is None):
                run.started_at = command.at
            if to in OVER:
                self._cascade(run, command.at)
        change = self.changes.runs.setdefault(command.graph_exec_id, [run, None])
        change[1] = stats or change[1]

    def _cascade(self, run: SmallRun, at: datetime) -> None:
        for step in run.steps:
            if step.status == "RUNNING":
                _move(step, "FAILED", at)
                self.changes.steps.setdefault(step.id, [step, None, None])


def _takes(step: SmallStep, command: Input) -> bool:
    return step.status == "INCOMPLETE" and command.input_name not in step.pins


def _move(step: SmallStep, to: str, at: datetime) -> None:
    step.status = to
    if to == "QUEUED":
        step.queued = at
    elif to == "RUNNING":
        step.started = at
    elif to in ("COMPLETED", "FAILED"):
        step.ended = at
