"""Sentences about entries, commands and rules."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from execstream.storage.story.evidence import Happened, Step
from execstream.streams.commands import (
    AddNodeInput,
    AddNodeOutput,
    Command,
    CreateGraph,
    DeleteGraph,
    ShareGraph,
    StartGraph,
    UpdateGraph,
    UpdateNode,
    UpdateNodes,
)
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import Dead, Refusal
from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus, is_allowed

MOST_ERROR = 160  # characters of an error that are shown

Steps = Mapping[str, Step]


def step_name(steps: Steps, step_id: str | None) -> str:
    """`Summarize (node n1, step 1b2c…)`, as far as that is known."""
    step = steps.get(step_id or "")
    return f"step {step_id}" if step is None else f"{step.block} (node {step.node_id}, {step_id})"


def listed(words: Iterable[str], last: str = "or") -> str:
    """`A, B or C`; there must be one."""
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final


def counted(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# ---- entries -------------------------------------------------------------------------------


def happened(entry: Happened, steps: Steps) -> str:
    """One entry as a sentence without its time."""
    return _HAPPENED[entry.type](entry, step_name(steps, entry.node_exec_id))


def _moved(entry: Happened, who: str) -> str:
    if entry.status is None:
        return f"the stats of {who} were replaced"
    error = f": {shortened(entry.error)}" if entry.error else ""
    return f"{who} went from {entry.was} to {entry.status}{_child(entry)}{error}"


def _child(entry: Happened) -> str:
    if entry.child is None or entry.node_exec_id is None:
        return ""
    is_cause = entry.status is ExecutionStatus.FAILED
    return f" because of its child run {entry.child}" if is_cause else f", by run {entry.child}"


def _deleted(entry: Happened, _: str) -> str:
    return "the run was erased for good" if entry.hard else "the run was deleted"


_HAPPENED: dict[EntryType, Callable[[Happened, str], str]] = {
    EntryType.GRAPH_CREATED: lambda *_: "the run was created",
    EntryType.GRAPH_UPDATED: lambda entry, _: _moved(entry, "the run"),
    EntryType.GRAPH_SHARED: lambda entry, _: (
        "the run was shared" if entry.is_shared else "the run was no longer shared"
    ),
    EntryType.GRAPH_DELETED: _deleted,
    EntryType.NODE_ADDED: lambda entry, step: f"{step} was added as {entry.status}",
    EntryType.NODE_INPUT_ADDED: lambda entry, step: f"{step} was given “{entry.name}”",
    EntryType.NODE_OUTPUT_ADDED: lambda entry, step: f"{step} emitted “{entry.name}”",
    EntryType.NODE_UPDATED: _moved,
}


def shortened(text: str) -> str:
    """One line of so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_ERROR else f"{line[: MOST_ERROR - 1]}…"


# ---- commands ------------------------------------------------------------------------------


def asked(command: Command, steps: Steps) -> str:
    """The request of a command: `to move the run to COMPLETED`."""
    return _ASKED[type(command)](command, steps)


def _asked_update(command: UpdateGraph, _: Steps) -> str:
    return "to replace the run's stats" if command.status is None else f"{_TO_RUN}{command.status}"


def _asked_input(command: AddNodeInput, steps: Steps) -> str:
    who = (
        f"node {command.node_id}"
        if command.node_exec_id is None
        else step_name(steps, command.node_exec_id)
    )
    return f"to give {who} the input “{command.input_name}”"


_TO_RUN = "to move the run to "
_ASKED: dict[type[Command], Callable[[Any, Steps], str]] = {
    CreateGraph: lambda command, _: (
        f"to create the run, of graph {command.graph_id} version {command.graph_version}, with "
        f"{counted(len(command.starting_nodes), 'starting step')}"
    ),
    StartGraph: lambda *_: "to start the run",
    UpdateGraph: _asked_update,
    ShareGraph: lambda command, _: (
        "to share the run" if command.is_shared else "to share the run no longer"
    ),
    DeleteGraph: lambda command, _: (
        "to erase the run for good" if command.hard else "to delete the run"
    ),
    AddNodeInput: _asked_input,
    AddNodeOutput: lambda command, steps: (
        f"to record that {step_name(steps, command.node_exec_id)} emitted “{command.output_name}”"
    ),
    UpdateNode: lambda command, steps: (
        f"to move {step_name(steps, command.node_exec_id)} to {command.status}"
    ),
    UpdateNodes: lambda command, _: (
        f"to move {counted(len(command.node_exec_ids), 'step')} to {command.status}"
    ),
}


# ---- rules ---------------------------------------------------------------------------------


def moves(found: ExecutionStatus) -> str:
    """The statuses that may follow this one, as a sentence without its end."""
    allowed = [to for to in ALLOWED_FROM if is_allowed(found, to)]
    return (
        f"From {found} it may become {listed(allowed)}"
        if allowed
        else f"Nothing leads out of {found}"
    )


def rule(reason: Refusal, detail: Mapping[str, Any]) -> str:
    """The rule that rejected the command, and the states that it would have accepted."""
    if reason is Refusal.ILLEGAL_TRANSITION:
        return _illegal(detail)
    return _RULES[reason].format_map({"found": "in another status"} | dict(detail))


def _illegal(detail: Mapping[str, Any]) -> str:
    need = f"to become {detail['wanted']} it must be {listed(detail['allowed_from'])}"
    if detail.get("found") is None:
        return f"None of the steps could be moved: {need}."
    found = ExecutionStatus(detail["found"])
    return f"It was {found}, and {need}. {moves(found)}."


_RULES = {
    Refusal.NOT_A_TARGET: "INCOMPLETE is where runs and steps begin: nothing is moved to it.",
    Refusal.UNKNOWN_GRAPH_EXECUTION: "No run of this id had been created when it came: "
    "graph.create must come first.",
    Refusal.UNKNOWN_NODE_EXECUTION: "The run had no such step: node.input without node_exec_id "
    "makes one.",
    Refusal.ALREADY_EXISTS: "An id is used once, and this one was taken: take a new one.",
    Refusal.WRONG_OWNER: "The sender does not own the run: only its owner's commands are taken.",
    Refusal.MISSING_EXECUTION_DATA: "A step is queued together with its execution data only: send "
    "node.update with execution_data.",
    Refusal.NOTHING_TO_CHANGE: "It named neither a status nor stats: one of them is needed.",
    Refusal.NOT_OPEN_FOR_INPUT: "The step was {found}, and only an INCOMPLETE one takes inputs: "
    "without node_exec_id a step that waits is found, or made.",
    Refusal.INPUT_ALREADY_THERE: "The step had a value on this pin already: without node_exec_id a "
    "step that lacks it is found, or made.",
    Refusal.SUPERSEDED: "The stored value is newer.",
    Refusal.DELETED: "The run was deleted: only graph.delete with hard is still taken, once.",
}


def why_dead(dead: Dead) -> str:
    """The reason why a record became a dead letter."""
    message = dead.detail.get("message")
    rest = {name: value for name, value in dead.detail.items() if name != "message"}
    detail = shortened(msgspec.json.encode(rest).decode()) if rest else ""
    found = " ".join(filter(None, (message and f"{message}.", detail)))
    return f"it could not be taken in, {dead.reason}: {found}" if found else f"{dead.reason}"
