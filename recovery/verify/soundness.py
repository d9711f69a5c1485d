"""Soundness of journals: entries that cannot follow the earlier ones under the rules.

Asked of journals that may have been changed by other hands, before `fold.evolve` sees the entry.
"""

from typing import NamedTuple

from msgspec import UNSET

from execstream.streams.journal import Entry, EntryType
from execstream.streams.state import Run, Step
from execstream.streams.statuses import ExecutionStatus, is_allowed

_WITH_VALUE = frozenset({EntryType.NODE_INPUT_ADDED, EntryType.NODE_OUTPUT_ADDED})
_OF_STEPS = _WITH_VALUE | {EntryType.NODE_ADDED, EntryType.NODE_UPDATED}
_AT_FIRST = (ExecutionStatus.INCOMPLETE, ExecutionStatus.QUEUED)


class Flaw(NamedTuple):
    """Why an entry cannot be where it is: a column of the journal, and two values in words."""

    field: str
    expected: str
    found: str


def flaw(run: Run | None, entry: Entry) -> Flaw | None:
    """The flaw of `entry` as the next one of `run` (None: its first)."""
    expected = 1 if run is None else run.last_seq + 1
    if entry.seq != expected:
        return Flaw("seq", str(expected), str(entry.seq))
    if (entry.data is None) is (entry.type in _WITH_VALUE):
        return Flaw("data", "a value" if entry.data is None else "none", f"{entry.type}")
    return _flaw_of_first(entry) if run is None else _flaw_of_later(run, entry)


def _flaw_of_later(run: Run, entry: Entry) -> Flaw | None:
    if entry.type is EntryType.GRAPH_CREATED:
        return Flaw("type", "one creation", "another")
    if run.is_deleted and (run.is_erased or not entry.detail.hard):
        return Flaw("type", "nothing after graph.deleted", entry.type)
    if entry.type in _OF_STEPS:
        return _flaw_of_step(run, entry)
    if entry.node_exec_id is not None:
        return Flaw("node_exec_id", "none", entry.node_exec_id)
    return _flaw_of_move(run.status, entry)


def _flaw_of_first(entry: Entry) -> Flaw | None:
    if entry.type is not EntryType.GRAPH_CREATED:
        return Flaw("type", EntryType.GRAPH_CREATED, entry.type)
    if entry.status is not ExecutionStatus.INCOMPLETE or entry.was is not None:
        return Flaw("status", ExecutionStatus.INCOMPLETE, str(entry.status))
    detail = entry.detail
    if UNSET in (detail.user_id, detail.graph_id, detail.graph_version):
        return Flaw("detail", "user_id, graph_id and graph_version", "not all of them")
    return None


def _flaw_of_step(run: Run, entry: Entry) -> Flaw | None:
    step = run.steps.get(entry.node_exec_id or "")
    if entry.type is EntryType.NODE_ADDED:
        return _flaw_of_new_step(entry, is_known=step is not None)
    if step is None:
        return Flaw("node_exec_id", "a step of the run", str(entry.node_exec_id))
    if entry.type is not EntryType.NODE_UPDATED:
        return _flaw_of_value(step, entry)
    if entry.status is None:
        return Flaw("status", "a status", "none")
    return _flaw_of_move(step.status, entry)


def _flaw_of_value(step: Step, entry: Entry) -> Flaw | None:
    if entry.name is None:
        return Flaw("name", "a pin", "none")
    if entry.type is EntryType.NODE_INPUT_ADDED and entry.name in step.pins:
        return Flaw("name", "a pin without a value", entry.name)
    return None


def _flaw_of_new_step(entry: Entry, *, is_known: bool) -> Flaw | None:
    if entry.node_exec_id is None or is_known:
        return Flaw("node_exec_id", "a new step", str(entry.node_exec_id))
    if entry.status not in _AT_FIRST:
        return Flaw("status", " or ".join(_AT_FIRST), str(entry.status))
    if UNSET in (entry.detail.node_id, entry.detail.block_id):
        return Flaw("detail", "node_id and block_id", "not both")
    return None


def _flaw_of_move(status: ExecutionStatus, entry: Entry) -> Flaw | None:
    if entry.status is None and entry.was is None:
        return None
    if entry.was is not status:
        return Flaw("was", status, str(entry.was))
    if entry.status is None or not is_allowed(status, entry.status):
        return Flaw("status", f"a move from {status}", str(entry.status))
    return None
