"""New rows of runs and steps, with the columns of contract §5."""

from datetime import UTC, date, datetime
from typing import Any

from execstream.workload.reference.reading import Command

Row = dict[str, Any]

# Fields that `graph.create` may bring, and a hard delete erases.
BROUGHT = ("inputs", "credential_inputs", "nodes_input_masks")


def new_run(command: Command, partition: int) -> Row:
    """The run that a `graph.create` makes."""
    return {
        "id": command["graph_exec_id"],
        "user_id": command["user_id"],
        "graph_id": command["graph_id"],
        "graph_version": command["graph_version"],
        "status": "INCOMPLETE",
        **{name: command.get(name) for name in BROUGHT},
        "preset_id": command.get("preset_id"),
        "parent_graph_exec_id": command.get("parent_graph_exec_id"),
        "dry_run": command.get("dry_run", False),
        "stats": None,
        "is_deleted": False,
        "is_shared": False,
        "share_token_hash": None,
        "shared_at": None,
        "created_at": command["at"],
        "started_at": None,
        "ended_at": None,
        "updated_at": command["at"],
        "last_seq": 0,
        "source_partition": partition,
        "trimmed_at": None,
        "attributes": command.get("attributes"),
    }


def new_step(run: Row, step_id: str, node: Row, status: str, at: datetime) -> Row:
    """A step of `node` (`node_id`, `block_id`); its `node.added` is the run's next entry."""
    return {
        "id": step_id,
        "graph_exec_id": run["id"],
        "run_day": run_day(run),
        "node_id": node["node_id"],
        "block_id": node["block_id"],
        "status": status,
        "execution_data": None,
        "stats": None,
        "added_seq": run["last_seq"] + 1,
        "added_time": at,
        "queued_time": at if status == "QUEUED" else None,
        "started_time": None,
        "ended_time": None,
        "inputs": {},
        "outputs": [],
    }


def run_day(run: Row) -> date:
    """The day of the run's creation, by which its steps and journal are partitioned."""
    created_at: datetime = run["created_at"]
    return created_at.astimezone(UTC).date()
