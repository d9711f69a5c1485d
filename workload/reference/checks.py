"""Why a command is refused (contract §2), asked before anything is changed.

`check` looks at the rows it is given and raises `RefusedError`, or returns.
The reasons that come before these (unknown run, wrong owner, duplicate, deleted) are asked by
`machine`.
"""

from collections.abc import Mapping
from uuid import UUID, uuid5

from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus
from execstream.workload.reference.exact_reading import Json
from execstream.workload.reference.reading import Command
from execstream.workload.reference.rows import Row

Steps = Mapping[str, Row]


class RefusedError(Exception):
    """Understood, and rejected by the rules."""

    def __init__(self, reason: str, detail: dict[str, Json] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail or {}


def check(command: Command, run: Row, steps: Steps) -> None:
    """Raise `RefusedError` when the rules do not let the command happen to this run."""
    match command["type"]:
        case "graph.create":
            _check_create(command)
        case "graph.start":
            _must_be_allowed(run["status"], "RUNNING")
        case "graph.update":
            _check_update(command, run)
        case "node.input":
            _check_input(command, steps)
        case "node.output":
            _known(command, steps)
        case "node.update":
            _check_update_step(command, steps)
        case "node.update_many":
            _check_update_steps(command, steps)
        case _:
            pass  # sharing and deleting are always the owner's right


def starting_ids(command: Command) -> list[str]:
    """The ids of the steps that a `graph.create` makes, in its order."""
    return [
        node.get("node_exec_id") or _derived(command, f"starting/{index}")
        for index, node in enumerate(command["starting_nodes"])
    ]


def new_step_id(command: Command) -> str:
    """The id of the step that a `node.input` makes when none is open for it."""
    return command.get("new_node_exec_id") or _derived(command, "node")


def _derived(command: Command, name: str) -> str:
    return str(uuid5(UUID(command["id"]), name))


def open_step(command: Command, steps: Steps) -> str | None:
    """The oldest INCOMPLETE step of the node that lacks the pin; steps come oldest first."""
    for step_id, step in steps.items():
        if (
            step["node_id"] == command["node_id"]
            and step["status"] == "INCOMPLETE"
            and command["input_name"] not in step["inputs"]
        ):
            return step_id
    return None


def parted(command: Command, steps: Steps) -> tuple[list[str], dict[str, str | None]]:
    """The steps of a `node.update_many` that may move, and the status of those that may not."""
    movable: list[str] = []
    skipped: dict[str, str | None] = {}
    for step_id in dict.fromkeys(command["node_exec_ids"]):
        found = steps[step_id]["status"] if step_id in steps else None
        if found in _sources(command["status"]):
            movable.append(step_id)
        else:
            skipped[step_id] = found
    return movable, skipped


def _check_create(command: Command) -> None:
    ids = starting_ids(command)
    if len(set(ids)) < len(ids):
        raise RefusedError("already_exists", {"node_exec_ids": ids})


def _check_update(command: Command, run: Row) -> None:
    wanted = command.get("status")
    if wanted is None:
        if "stats" not in command:
            raise RefusedError("nothing_to_change")
        return
    _must_be_a_target(wanted)
    _must_be_allowed(run["status"], wanted)


def _check_input(command: Command, steps: Steps) -> None:
    if "node_exec_id" not in command:
        if open_step(command, steps) is None and new_step_id(command) in steps:
            raise RefusedError("already_exists", {"node_exec_id": new_step_id(command)})
        return
    step = _known(command, steps)
    if step["node_id"] != command["node_id"]:
        raise RefusedError("unknown_node_execution", {"node_id": step["node_id"]})
    if step["status"] != "INCOMPLETE":
        raise RefusedError("not_open_for_input", {"found": step["status"]})
    if command["input_name"] in step["inputs"]:
        raise RefusedError("input_already_there")


def _check_update_step(command: Command, steps: Steps) -> None:
    _must_be_a_target(command["status"])
    if command["status"] == "QUEUED" and "execution_data" not in command:
        raise RefusedError("missing_execution_data")
    _must_be_allowed(_known(command, steps)["status"], command["status"])


def _check_update_steps(command: Command, steps: Steps) -> None:
    wanted = command["status"]
    _must_be_a_target(wanted)
    if wanted == "QUEUED":
        raise RefusedError("missing_execution_data")
    movable, skipped = parted(command, steps)
    if movable:
        return
    if all(status is None for status in skipped.values()):
        raise RefusedError("unknown_node_execution", {"skipped": skipped})
    raise RefusedError("illegal_transition", _illegal(None, wanted) | {"skipped": skipped})


def _known(command: Command, steps: Steps) -> Row:
    if command["node_exec_id"] not in steps:
        raise RefusedError("unknown_node_execution", {"node_exec_id": command["node_exec_id"]})
    return steps[command["node_exec_id"]]


def _must_be_a_target(wanted: str | None) -> None:
    if wanted == "INCOMPLETE":
        raise RefusedError("not_a_target", {"wanted": wanted})


def _must_be_allowed(found: str, wanted: str) -> None:
    if found not in _sources(wanted):
        raise RefusedError("illegal_transition", _illegal(found, wanted))


def _illegal(found: str | None, wanted: str) -> dict[str, Json]:
    allowed = [status.value for status in ExecutionStatus if status in _sources(wanted)]
    return {"found": found, "wanted": wanted, "allowed_from": allowed}


def _sources(wanted: str) -> frozenset[str]:
    return frozenset(ALLOWED_FROM[ExecutionStatus(wanted)])
