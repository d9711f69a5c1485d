"""The story of a run: a line for each command that came, in the order in which they did."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from execstream.storage.schema.tables import DEAD_LETTERS, REFUSALS
from execstream.storage.story.evidence import (
    DeadOne,
    Evidence,
    Happened,
    HeldOne,
    RecordPosition,
    RefusedOne,
    telling,
)
from execstream.storage.story.sentences import (
    counted,
    happened,
    listed,
    rule,
    step_name,
    why_dead,
)
from execstream.streams.journal import EntryType
from execstream.streams.outcomes import Dead
from execstream.streams.statuses import ExecutionStatus

MOST_STEPS = 3  # that a line names; more steps are only counted


class Line(NamedTuple):
    """The effect of a command. `seq`: first and last entry; `outcome` as in contract section 2."""

    at: datetime
    place: RecordPosition
    outcome: str
    command_id: str | None
    seq: tuple[int, int] | None
    text: str


def run_story(evidence: Evidence) -> list[Line]:
    """All that came for the run, refused and dead among it; runs of outputs are one line. Raises
    UnreadableRun."""
    lines = [
        *_applied(evidence),
        *(_refused(evidence.run_id, one) for one in evidence.refusals),
        *(_dead(evidence.run_id, one) for one in evidence.letters),
        *(_held(one) for one in evidence.held),
    ]
    return sorted(lines, key=lambda line: line.place)


def summary(evidence: Evidence) -> str:
    """The state of the run, in a few sentences."""
    run = evidence.run
    if run is None:
        return f"There never was a run {evidence.run_id}."
    name = run["graph_name"] or run["graph_id"]
    head = (
        f"Run {evidence.run_id} of {name} version {run['graph_version']}, owned by "
        f"{run['user_id']}, {_standing(evidence)}."
    )
    return " ".join([head, *_steps(evidence), *_rejections(evidence)])


def _standing(evidence: Evidence) -> str:
    run = evidence.run or {}
    if run["is_deleted"]:
        return f"was deleted; it was {run['status']}"
    took = ""
    if run["ended_at"] is not None:
        since = run["started_at"] or run["created_at"]
        took = f", {(run['ended_at'] - since).total_seconds():,.1f} s after its start"
    gone = "; retention has dropped its journal" if run["trimmed_at"] else ""
    return f"is {run['status']}{took}{gone}"


def _steps(evidence: Evidence) -> Iterator[str]:
    last: dict[str, ExecutionStatus] = {}
    for entry in evidence.entries:
        if entry.node_exec_id is not None and entry.status is not None:
            last[entry.node_exec_id] = entry.status
    if last:
        by_status = Counter(last.values())
        sentence = listed((f"{count} {status}" for status, count in by_status.items()), "and")
        yield f"It has {counted(len(last), 'step')}: {sentence}."


def _rejections(evidence: Evidence) -> Iterator[str]:
    if evidence.refusals:
        yield f"{counted(len(evidence.refusals), 'command')} refused."
    if evidence.letters:
        yield f"{counted(len(evidence.letters), 'record')} could not be taken in."
    if evidence.held:
        yield (
            f"{counted(len(evidence.held), 'record')} in quarantine: `execstream quarantine retry "
            f"{evidence.run_id}` applies them once the cause is mended."
        )


# ---- lines ---------------------------------------------------------------------------------


def _applied(evidence: Evidence) -> Iterator[Line]:
    for _, group in groupby(evidence.entries, key=_together):
        entries = list(group)
        first, last = entries[0], entries[-1]
        command_id = first.command_id if first.command_id == last.command_id else None
        text = _sentence(_text(entries, evidence))
        seq = (first.seq, last.seq)
        yield Line(first.at, first.place, "applied", command_id, seq, text)


def _sentence(text: str) -> str:
    """Names of blocks stay as they are."""
    return f"T{text[1:]}." if text.startswith("the ") else f"{text}."


def _together(entry: Happened) -> tuple[str | None, ...]:
    """Entries of one command belong together, and so do outputs of one pin of a step."""
    if entry.type is EntryType.NODE_OUTPUT_ADDED:
        return entry.type, entry.node_exec_id, entry.name
    return (entry.command_id,)


def _text(entries: list[Happened], evidence: Evidence) -> str:
    first, *others = entries
    sentence = happened(first, evidence.steps)
    if first.type is EntryType.NODE_OUTPUT_ADDED:
        return sentence if not others else f"{sentence} {len(entries):,} times"
    if first.type is EntryType.GRAPH_CREATED:
        return _created(sentence, entries, evidence)
    if first.type is EntryType.NODE_ADDED:
        pins = [f"“{one.name}”" for one in others]
        return f"{sentence} and given {listed(pins, 'and')}" if pins else sentence
    if not others:
        return sentence
    if first.node_exec_id is None:
        names = _named(others, evidence)
        return f"{sentence}; with it {names} went from RUNNING to FAILED"
    return f"{_named(entries, evidence)} went to {first.status}"


def _created(sentence: str, entries: list[Happened], evidence: Evidence) -> str:
    run = evidence.run or {}
    added = [entry for entry in entries if entry.type is EntryType.NODE_ADDED]
    dry = ", as a dry run" if run["dry_run"] else ""
    parent = f", by run {one}" if (one := run["parent_graph_exec_id"]) else ""
    begin = f"; it begins with {_named(added, evidence)}" if added else ""
    return f"{sentence} by {run['user_id']}{parent}{dry}{begin}"


def _named(entries: list[Happened], evidence: Evidence) -> str:
    if len(entries) > MOST_STEPS:
        return counted(len(entries), "step")
    return listed((step_name(evidence.steps, one.node_exec_id) for one in entries), "and")


def _refused(run_id: str, one: RefusedOne) -> Line:
    with telling(run_id, REFUSALS):
        why = rule(one.reason, one.detail)
    text = f"{one.command_type} of {one.user_id} was refused, {one.reason}. {why}"
    return Line(one.at, one.place, "refused", one.command_id, None, text)


def _dead(run_id: str, one: DeadOne) -> Line:
    with telling(run_id, DEAD_LETTERS):
        why = why_dead(Dead(one.reason, dict(one.detail)))
    text = f"A record became dead letter {one.id}: {why}."
    return Line(one.at, one.place, "dead", None, None, text)


def _held(one: HeldOne) -> Line:
    why = (
        "waits in quarantine behind another"
        if one.error is None
        else f"could not be applied: {one.error}"
    )
    return Line(one.at, one.place, "quarantined", one.command_id, None, f"A record {why}.")
