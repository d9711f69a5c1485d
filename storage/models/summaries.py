"""Figures about many runs: costs, statuses, and the graphs that run most often."""

from datetime import date, datetime

from pydantic import BaseModel

from execstream.streams.statuses import ExecutionStatus


class FrequentlyExecutedGraph(BaseModel):
    """A graph that one user ran often; only runs that ended are counted."""

    graph_id: str
    user_id: str
    execution_count: int


class GraphCost(BaseModel):
    """Runs of one graph and their cost in cents."""

    graph_id: str
    executions: int
    cost: int


class DayCost(BaseModel):
    """Runs created on one UTC day and their cost in cents."""

    day: date
    executions: int
    cost: int


class RunCost(BaseModel):
    """One run and its cost in cents; `duration` is seconds."""

    graph_exec_id: str
    graph_id: str
    status: ExecutionStatus
    created_at: datetime
    duration: float
    cost: int


class UserCostSummary(BaseModel):
    """The cost in cents of a user's runs that were created at `start` ≤ t < `end`."""

    user_id: str
    start: datetime
    end: datetime
    executions: int = 0
    cost: int = 0
    failed_executions: int = 0
    failed_cost: int = 0
    by_graph: list[GraphCost]  # dearest first
    by_day: list[DayCost]  # oldest first
    top_runs: list[RunCost]  # dearest first, at most ten


class ExecutionDiagnostics(BaseModel):
    """The state of all runs at `as_of`, however old they are.

    A run is silent since the last command that was applied to it.
    """

    as_of: datetime
    running: int
    queued: int
    in_review: int
    incomplete: int
    oldest_running: datetime | None  # when it was started
    oldest_running_id: str | None
    oldest_queued: datetime | None  # since when it is silent
    oldest_queued_id: str | None
    running_silent_1h: int
    running_silent_24h: int
    queued_silent_5m: int
    queued_silent_1h: int
    # States no command can lead to: a writer of ours is at fault.
    running_without_start: int
    live_with_end: int
    completed_1h: int
    completed_24h: int
    failed_1h: int
    failed_24h: int
    terminated_1h: int
    terminated_24h: int
    ended_per_hour: float  # mean of the last 24 hours
