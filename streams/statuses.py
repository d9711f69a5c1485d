"""The seven statuses of a run or a step, and which move leads where.

Runs (graph executions) and steps (node executions) share one table.
`docs/state_machine.md` is generated from it.
"""

from collections.abc import Mapping
from enum import StrEnum


class ExecutionStatus(StrEnum):
    INCOMPLETE = "INCOMPLETE"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"
    REVIEW = "REVIEW"


S = ExecutionStatus

Table = Mapping[S, frozenset[S]]

# Read a row as "to become X it must now be one of …".
ALLOWED_FROM: Table = {
    S.QUEUED: frozenset({S.INCOMPLETE, S.TERMINATED, S.REVIEW}),
    S.RUNNING: frozenset({S.INCOMPLETE, S.QUEUED, S.TERMINATED, S.REVIEW}),
    S.COMPLETED: frozenset({S.RUNNING}),
    S.FAILED: frozenset({S.INCOMPLETE, S.QUEUED, S.RUNNING, S.REVIEW}),
    S.TERMINATED: frozenset({S.INCOMPLETE, S.QUEUED, S.RUNNING, S.REVIEW}),
    S.REVIEW: frozenset({S.RUNNING}),
}

# A run that reaches one of these is over and takes its RUNNING steps with it.
ENDED = frozenset({S.COMPLETED, S.FAILED, S.TERMINATED})

# Nothing leads out of these.
FINAL = frozenset(S) - frozenset().union(*ALLOWED_FROM.values())


def cascade_error(end: S) -> str:
    """The `stats.error` of steps that fail because their run ended as `end`."""
    return f"graph_execution_{end.lower()}"


def is_allowed(was: S, to: S, table: Table = ALLOWED_FROM) -> bool:
    """Return whether the table allows a move from status `was` to `to`."""
    return was in table.get(to, ())


def allowed_from(to: S, table: Table = ALLOWED_FROM) -> list[S]:
    """The sources of `to`, in the order of the enum, for messages and documents."""
    sources = table.get(to, frozenset())
    return [status for status in S if status in sources]
