"""The plan of a run: its commands, tried by the rules before they are sent.

A row is imported as it is, or it is left out; with `nearest` it is imported by the nearest legal
way, and its differences are listed. Without a step its values are left out, without a run all.
"""

from dataclasses import dataclass, field

import msgspec

from execstream.recovery.history_import.derived_ids import execution_id
from execstream.recovery.history_import.run_commands import RunCommands
from execstream.recovery.history_import.source_rows import (
    Difference,
    LeftOut,
    RowId,
    SourceRun,
    SourceStep,
    Table,
    Value,
)
from execstream.recovery.history_import.step_commands import Planned
from execstream.streams.commands import AddNodeInput, RunCommand
from execstream.streams.decoding import decode
from execstream.streams.fold import fold
from execstream.streams.outcomes import Dead, Refusal
from execstream.streams.state import Run
from execstream.streams.statuses import ExecutionStatus

_NOT_EXACT = "needs_nearest"
_NO_BLOCK = "unknown_block"
_NO_INPUT = "incomplete_without_input"
_UNKNOWN_STATUS = "unknown_status"
_STATUSES = frozenset(map(str, ExecutionStatus))


@dataclass(slots=True)
class RunPlan:
    """The records of a run, their effect, and the rows that get another one.

    Attributes:
        state: the run as it will be; None when it is left out as a whole.
    """

    run: SourceRun
    state: Run | None = None
    records: list[bytes] = field(default_factory=list)
    left_out: dict[RowId, LeftOut] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def row(self) -> RowId:
        return RowId(Table.RUNS, self.run.id)


def plan_run(run: SourceRun, *, is_nearest: bool, max_bytes: int) -> RunPlan:
    """Plan the import of `run`."""
    plan = RunPlan(run)
    for row, reason in _impossible(run):
        plan.left_out[row] = LeftOut(row, reason, {})
    if plan.row in plan.left_out:
        return plan
    if not is_nearest:
        for one in RunCommands(run, plan.left_out).differences():
            detail = {"column": one.column, "original": one.original, "imported": one.imported}
            plan.left_out.setdefault(one.row, LeftOut(one.row, _NOT_EXACT, detail))
    while plan.row not in plan.left_out:
        commands = RunCommands(run, plan.left_out)
        refused = _try(plan, commands, max_bytes)
        if refused is None:
            plan.differences = commands.differences()
            break
        plan.left_out[refused.row] = refused
    if plan.row in plan.left_out:
        plan.state, plan.records, plan.differences = None, [], []
    return plan


def _impossible(run: SourceRun) -> list[tuple[RowId, str]]:
    """The rows that no legal way leads to."""
    if run.status not in _STATUSES:
        return [(RowId(Table.RUNS, run.id), _UNKNOWN_STATUS)]
    reasons = ((step, _reason(step)) for step in run.steps)
    steps = [(RowId(Table.STEPS, step.id), reason) for step, reason in reasons if reason]
    return steps + [
        (RowId(Table.VALUES, one.id), Refusal.INPUT_ALREADY_THERE)
        for step in run.steps
        for one in _overwritten(step)
    ]


def _overwritten(step: SourceStep) -> list[Value]:
    """Inputs with a later one of the same name, which the original's readers show."""
    last = {one.name: one for one in step.inputs}
    return [one for one in step.inputs if last[one.name] is not one]


def _reason(step: SourceStep) -> str | None:
    if step.block_id is None:
        return _NO_BLOCK
    if step.status not in _STATUSES:
        return _UNKNOWN_STATUS
    if step.status == ExecutionStatus.INCOMPLETE and not step.inputs:
        return _NO_INPUT
    return None


def _try(plan: RunPlan, commands: RunCommands, max_bytes: int) -> LeftOut | None:
    """Fold all commands as the workers will; return the first row that is not taken."""
    state: Run | None = None
    key = execution_id(plan.run.id).encode()
    records = []
    for planned in commands.commands():
        value = msgspec.json.encode(planned.command)
        command = decode(key, value, max_bytes)
        if isinstance(command, Dead):
            return LeftOut(planned.row, command.reason, command.detail)
        assert isinstance(command, RunCommand)  # noqa: S101 - shows the type checker
        result = fold(state, command, 0)
        if not isinstance(result, tuple):
            reason = getattr(result, "reason", "duplicate")
            return LeftOut(planned.row, str(reason), getattr(result, "detail", {}))
        state = result[0]
        if _went_elsewhere(planned, state):
            return LeftOut(planned.row, "taken_by_another_step", {})
        records.append(value)
    plan.state, plan.records = state, records
    return None


def _went_elsewhere(planned: Planned, state: Run) -> bool:
    """Return whether the input that should make a step went to one that waits for it."""
    command = planned.command
    if not isinstance(command, AddNodeInput) or command.new_node_exec_id is None:
        return False
    return state.outcomes[command.id].node_exec_id != command.new_node_exec_id
