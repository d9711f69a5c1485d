"""Facts that the tally counts, derived from journal entries without the event between.

A fact made here is the one that `decode_fact` reads from the entry's event.
"""

from execstream.streams.events import Source
from execstream.streams.journal import Entry, EntryType
from execstream.streams.state import Run
from execstream.streams.statuses import FINAL, ExecutionStatus
from execstream.streams.totals.aggregation import Fact

_RUN_MOVES = frozenset({EntryType.GRAPH_CREATED, EntryType.GRAPH_UPDATED})
_COUNTED_STATUSES = FINAL | {ExecutionStatus.TERMINATED}


def fact_of(run: Run, entry: Entry, source: Source) -> Fact | None:
    """The fact of `entry`, by which `run` has evolved; None for an entry that the tally does not
    count.
    """
    if entry.type in _RUN_MOVES:
        return None if entry.status is None else _of_run(run, entry, source)
    if entry.type is EntryType.NODE_ADDED or (
        entry.type is EntryType.NODE_UPDATED and entry.status in _COUNTED_STATUSES
    ):
        return _of_step(run, entry, source)
    if entry.type is EntryType.GRAPH_DELETED and entry.detail.hard:
        return _of_deletion(run, entry, source)
    return None


def _of_run(run: Run, entry: Entry, source: Source) -> Fact:
    return Fact(
        type=entry.type,
        at=entry.at,
        source=source,
        graph_id=run.graph_id,
        status=entry.status or "",
        imported=entry.detail.imported,
    )


def _of_deletion(run: Run, entry: Entry, source: Source) -> Fact:
    return Fact(
        type=entry.type,
        at=entry.at,
        source=source,
        graph_exec_id=run.id,
        hard=entry.detail.hard,
    )


def _of_step(run: Run, entry: Entry, source: Source) -> Fact:
    step = run.steps[entry.node_exec_id or ""]
    return Fact(
        type=entry.type,
        at=entry.at,
        source=source,
        graph_exec_id=run.id,
        graph_id=run.graph_id,
        user_id=run.user_id,
        dry_run=run.dry_run,
        node_exec_id=step.id,
        node_id=step.node_id,
        block_id=step.block_id,
        added_time=step.added_time,
        started_time=step.started_time,
        ended_time=step.ended_time,
        status=entry.status or "",
        stats=entry.detail.stats,
        skewed=entry.detail.skewed,
        imported=entry.detail.imported,
    )
