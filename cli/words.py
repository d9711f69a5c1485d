"""Texts of runs, steps and their updates at a terminal."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from execstream.cli.terminal import Text
from execstream.streams.statuses import ExecutionStatus

# Errors that reading a message of strangers raises.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

STYLES = {
    ExecutionStatus.INCOMPLETE: "dim",
    ExecutionStatus.QUEUED: "cyan",
    ExecutionStatus.RUNNING: "blue",
    ExecutionStatus.COMPLETED: "green",
    ExecutionStatus.TERMINATED: "yellow",
    ExecutionStatus.FAILED: "red",
    ExecutionStatus.REVIEW: "magenta",
}
_WIDTH = max(map(len, ExecutionStatus))


def status_text(status: str | None) -> Text:
    """A status in its colour, as wide as the widest."""
    if status is None:
        return Text("-".ljust(_WIDTH))
    return Text(status.ljust(_WIDTH), STYLES[ExecutionStatus(status)])


def moment(time: datetime | None) -> str:
    """A time as tables show it, in UTC."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def update_text(payload: Mapping[str, Any]) -> Text:
    """A message of contract section 4 in one line."""
    if payload["event_type"] == "graph_execution_update":
        run, what, pins = payload["id"], "run", payload["outputs"]
    else:
        run, what, pins = payload["graph_exec_id"], "step", payload["output_data"]
    place = "" if what == "run" else f"  {payload['node_exec_id']}"
    emitted = sum(len(values) for values in pins.values())
    seq = "-" if payload["seq"] is None else payload["seq"]  # a state that was published by hand
    line = Text(f"{run} {seq:>5}  {what:<4} ")
    line.append_text(status_text(payload["status"]))
    line.append(f"  {payload['user_id']}  {payload['graph_id']}{place}", "dim")
    line.append(f"  {emitted} outputs" if emitted else "", "dim")
    return line.append("  told once more" if payload.get("replayed") else "", "dim")
