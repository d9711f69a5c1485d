"""The fold: a run's state is the result of applying its entries, in order, to an empty state.

`fold` applies a command: it decides, then evolves. `evolve` alone rebuilds a state from the
journal. Both are the only way a state ever changes.
"""

from collections.abc import Callable
from typing import cast

import msgspec
from msgspec import UNSET

from execstream.streams.commands import RunCommand
from execstream.streams.errors import Fatal
from execstream.streams.journal import Entry, EntryType
from execstream.streams.outcomes import Applied, Duplicate, Refused
from execstream.streams.rules import decide
from execstream.streams.state import Run, Step
from execstream.streams.statuses import ALLOWED_FROM, ENDED, FINAL, ExecutionStatus, Table

# Bytes of memory, about.
_SKIPPED = 112  # an id with its status
_PIN = 64  # beside its characters


class GapInJournal(Fatal):
    """An entry is about a step that no entry before it has added."""


def fold(
    run: Run | None, command: RunCommand, partition: int, table: Table = ALLOWED_FROM
) -> tuple[Run, list[Entry]] | Duplicate | Refused:
    """Apply `command`, which came on `partition`; return the run after it, and its entries. Pass
    another `table` than the one in force to ask for a hypothetical outcome.
    """
    decision = decide(run, command, table)
    if not isinstance(decision, list):
        return decision
    if run is None:
        run = new_run(command.graph_exec_id, decision[0], partition)
    for entry in decision:
        evolve(run, entry)
    return run, decision


def new_run(run_id: str, created: Entry, partition: int) -> Run:
    """The run that `created`, its `graph.created` entry, begins; the entry is still to evolve."""
    detail = created.detail
    return Run(
        id=run_id,
        partition=partition,
        user_id=cast(str, detail.user_id),
        graph_id=cast(str, detail.graph_id),
        graph_version=cast(int, detail.graph_version),
        created_at=created.at,
        dry_run=detail.dry_run,
    )


def evolve(run: Run, entry: Entry) -> None:
    """Let `entry`, the next of `run`'s journal, take effect on its state. Raises GapInJournal."""
    try:
        _EVOLVE[entry.type](run, entry)
    except KeyError as error:
        raise GapInJournal(
            f"The journal of run {run.id} lacks what its entry {entry.seq} goes on with: "
            f"`execstream verify {run.id}` tells what differs."
        ) from error
    run.last_seq = entry.seq
    run.updated_at = entry.at
    _remember(run, entry)


def _remember(run: Run, entry: Entry) -> None:
    """Keep the outcome, so that the same command sent again has no second effect."""
    outcome = run.outcomes.get(entry.command_id)
    if outcome is None:
        skipped = None if entry.detail.skipped is UNSET else entry.detail.skipped
        if skipped is not None:
            run.extra += _SKIPPED * len(skipped)
        run.outcomes[entry.command_id] = Applied(
            first=entry.seq,
            last=entry.seq,
            node_exec_id=entry.node_exec_id if skipped is None else None,
            updated=None if skipped is None else 1,
            skipped=skipped,
        )
    else:
        run.outcomes[entry.command_id] = msgspec.structs.replace(
            outcome,
            last=entry.seq,
            updated=None if outcome.updated is None else outcome.updated + 1,
        )


def _created(run: Run, entry: Entry) -> None:
    """`new_run` has taken everything from this entry already."""


def _updated(run: Run, entry: Entry) -> None:
    if entry.detail.started:
        run.started_at = entry.at
    if entry.status is not None:
        run.status = entry.status
        run.ended_at = entry.at if entry.status in ENDED else None


def _shared(run: Run, entry: Entry) -> None:
    detail = entry.detail
    run.is_shared = detail.is_shared
    run.share_token_hash = None if detail.share_token_hash is UNSET else detail.share_token_hash
    run.shared_at = entry.at if detail.is_shared else None


def _deleted(run: Run, entry: Entry) -> None:
    run.is_deleted = True
    if entry.detail.hard:
        run.erase()


def _node_added(run: Run, entry: Entry) -> None:
    queued = entry.status is ExecutionStatus.QUEUED
    run.add(
        Step(
            id=cast(str, entry.node_exec_id),
            node_id=cast(str, entry.detail.node_id),
            block_id=cast(str, entry.detail.block_id),
            status=cast(ExecutionStatus, entry.status),
            added_seq=entry.seq,
            added_time=entry.at,
            queued_time=entry.at if queued else None,
        )
    )


def _input_added(run: Run, entry: Entry) -> None:
    pin = cast(str, entry.name)
    run.steps[cast(str, entry.node_exec_id)].pins.add(pin)
    run.extra += _PIN + len(pin)


def _output_added(run: Run, entry: Entry) -> None:
    """Outputs are rows of the journal and nothing the rules ask about."""


def _node_updated(run: Run, entry: Entry) -> None:
    step = run.steps[cast(str, entry.node_exec_id)]
    status = cast(ExecutionStatus, entry.status)
    step.status = status
    if status is ExecutionStatus.QUEUED:
        step.queued_time = entry.at
    elif status is ExecutionStatus.RUNNING:
        step.started_time = entry.at
    elif status in FINAL:
        step.ended_time = entry.at
    if status in FINAL:
        keep_stats(run, step, None)  # nothing can be added to them any more
    elif entry.detail.stats is not UNSET:
        keep_stats(run, step, bytes(entry.detail.stats))


def keep_stats(run: Run, step: Step, stats: bytes | None) -> None:
    """Replace the stats of a step of `run`."""
    run.extra += len(stats or b"") - len(step.stats or b"")
    step.stats = stats


_EVOLVE: dict[EntryType, Callable[[Run, Entry], None]] = {
    EntryType.GRAPH_CREATED: _created,
    EntryType.GRAPH_UPDATED: _updated,
    EntryType.GRAPH_SHARED: _shared,
    EntryType.GRAPH_DELETED: _deleted,
    EntryType.NODE_ADDED: _node_added,
    EntryType.NODE_INPUT_ADDED: _input_added,
    EntryType.NODE_OUTPUT_ADDED: _output_added,
    EntryType.NODE_UPDATED: _node_updated,
}
