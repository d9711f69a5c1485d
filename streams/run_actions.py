"""Actions of operators on runs: the statuses that each takes, and the command that it sends."""

from collections.abc import Sequence
from enum import StrEnum

from execstream.streams.commands import Command, DeleteGraph, UpdateGraph
from execstream.streams.statuses import ExecutionStatus, allowed_from

_BY_HAND = (ExecutionStatus.TERMINATED, ExecutionStatus.REVIEW)


class RunAction(StrEnum):
    """`delete` hides a run; nothing erases many runs at once."""

    TERMINATE = "terminate"
    RESUME = "resume"
    DELETE = "delete"


_MOVES = {
    RunAction.TERMINATE: ExecutionStatus.TERMINATED,
    RunAction.RESUME: ExecutionStatus.QUEUED,
}


def taken_statuses(action: RunAction) -> Sequence[ExecutionStatus]:
    """The statuses of runs that `action` is for: the rules refuse it for others."""
    match action:
        case RunAction.TERMINATE:
            return allowed_from(ExecutionStatus.TERMINATED)
        case RunAction.RESUME:  # a run that has never been queued waits for its producer
            return [one for one in allowed_from(ExecutionStatus.QUEUED) if one in _BY_HAND]
        case RunAction.DELETE:
            return list(ExecutionStatus)


def command_of(action: RunAction, run_id: str, user_id: str, command_id: str, at: str) -> Command:
    """The command that `action` sends to a run of that owner."""
    if action is RunAction.DELETE:
        return DeleteGraph(id=command_id, at=at, user_id=user_id, graph_exec_id=run_id)
    return UpdateGraph(
        id=command_id, at=at, user_id=user_id, graph_exec_id=run_id, status=_MOVES[action]
    )
