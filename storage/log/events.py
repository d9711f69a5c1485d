"""Events rebuilt from the log, byte for byte as they were first published.

An event of a step names its node and block and carries its times, which come from earlier entries;
so the states of runs are kept as long as they are in use.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from msgspec import UNSET, Raw

from execstream.storage.log.reader import Row, read_page
from execstream.storage.log.run_states import (
    Unreadable,
    entry_cell,
    entry_of,
    load_runs,
    refuse,
)
from execstream.storage.schema.tables import REFUSALS
from execstream.storage.unreadable_rows import (
    NOT_AS_WRITTEN,
    Cell,
    UnreadableRun,
    note,
    unreadable_run,
)
from execstream.streams.events import Event, SourceOffset, encode_event, run_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.state import Run

PAGE = 2_000  # events
MOST_STEPS = 15_000  # of all runs that are kept, some 20 MB; a run counts as a step


class EventBuilder:
    """Builds events from rows of the log, given in the order of their sources.

    `unreadable` is called for a run of which something cannot be read; if that returns, the events
    of the run in the page are left out.
    """

    def __init__(self, unreadable: Unreadable = refuse) -> None:
        self._runs: dict[str, Run] = {}  # the least recently used first
        self._unreadable = unreadable

    async def events(self, connection: asyncpg.Connection, rows: Sequence[Row]) -> list[Event]:
        """Return the events of `rows`, which `connection` has just read and still sees."""
        firsts: dict[str, int] = {}
        for row in rows:
            if row["seq"] is not None:
                firsts.setdefault(str(row["graph_exec_id"]), row["seq"])
        left_out = await self._recall(connection, firsts)
        events = []
        for row in rows:
            run_id = str(row["graph_exec_id"])
            if run_id in left_out:
                continue
            try:
                events.append(self._event(row))
            except NOT_AS_WRITTEN as error:
                left_out.add(run_id)
                self._runs.pop(run_id, None)
                self._unreadable(unreadable_run(run_id, error, _cell(row)))
        self._trim(firsts)
        return events

    async def _recall(self, connection: asyncpg.Connection, firsts: dict[str, int]) -> set[str]:
        """Load the state of each run before its first entry in the page; those left out."""
        known = {run_id: self._runs.pop(run_id) for run_id in firsts if run_id in self._runs}
        for run_id, run in known.items():
            if run.last_seq + 1 == firsts[run_id]:
                self._runs[run_id] = run
        missing = {
            run_id: seq for run_id, seq in firsts.items() if seq > 1 and run_id not in self._runs
        }
        left_out: set[str] = set()

        def leave_out(error: UnreadableRun) -> None:
            self._unreadable(error)
            left_out.add(error.graph_exec_id)

        if missing:
            self._runs |= await load_runs(connection, list(missing), missing, unreadable=leave_out)
        return left_out

    def _event(self, row: Row) -> Event:
        if row["seq"] is not None:
            return _entry_event(self._runs, row)
        return _refusal_event(row) if row["reason"] is not None else _key_value_event(row)

    def _trim(self, used: dict[str, int]) -> None:
        for run_id in used:
            if run := self._runs.get(run_id):
                run.outcomes.clear()  # only workers that apply commands use them
        steps = sum(1 + len(run.steps) for run in self._runs.values())
        while steps > MOST_STEPS:
            steps -= 1 + len(self._runs.pop(next(iter(self._runs))).steps)


class StoredEvent(NamedTuple):
    """An event as a record: `place` is the offset and index of its source."""

    place: SourceOffset
    key: bytes
    value: bytes


class EventPage(NamedTuple):
    """Events in order, and the source of the last one that was read; None when there are no more.

    Events of runs that cannot be read are missing.
    """

    events: list[StoredEvent]
    last: SourceOffset | None


async def events_after(
    connection: asyncpg.Connection, partition: int, after: SourceOffset, before: int
) -> EventPage:
    """Return the next page of events of `partition`.

    Their sources are greater than `after`, and their offsets are below `before`.
    """
    begin = (after[0], after[1] + 1)
    # One snapshot: commits go on meanwhile, and may erase a run between two queries.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows, _ = await read_page(connection, {partition: (begin, (before, 0))}, limit=PAGE)
        events = await EventBuilder(note).events(connection, rows)
    last = (rows[-1]["source_offset"], rows[-1]["source_index"]) if rows else None
    return EventPage([_stored_event(one) for one in events], last)


def _cell(row: Row) -> Cell:
    return entry_cell(row) if row["seq"] is not None else Cell(REFUSALS.name)


def _entry_event(runs: dict[str, Run], row: Row) -> Event:
    """The event of a row of the journal. Its run in `runs` evolves: it must be in the state just
    before the entry, or is created by it.
    """
    run_id, entry = str(row["graph_exec_id"]), entry_of(row)
    if row["data"] is not None:
        entry.data = Raw(row["data"].encode())
    partition = row["source_partition"]
    if run_id not in runs:
        runs[run_id] = new_run(run_id, entry, partition)
    run = runs[run_id]
    if entry.seq > run.last_seq:
        evolve(run, entry)
    return run_event(run, entry, (partition, row["source_offset"], row["source_index"]))


def _refusal_event(row: Row) -> Event:
    """The event of a row of `refusal`."""
    run_id = row["graph_exec_id"]
    return Event(
        type="command.refused",
        at=row["at"],
        command_id=str(row["command_id"]),
        source=(row["source_partition"], row["source_offset"], 0),
        user_id=row["user_id"],
        graph_exec_id=UNSET if run_id is None else str(run_id),
        command_type=row["command_type"],
        reason=row["reason"],
        detail=Raw(row["detail"].encode()),
    )


def _key_value_event(row: Row) -> Event:
    """The event of a row of `kv_journal`."""
    return Event(
        type="kv.changed",
        at=row["at"],
        command_id=str(row["command_id"]),
        source=(row["source_partition"], row["source_offset"], 0),
        user_id=row["user_id"],
        key=row["key"],
        data=Raw(row["data"].encode()),
        node_exec_id=str(row["node_exec_id"]),
    )


def _stored_event(event: Event) -> StoredEvent:
    """Its key is the run, or the user of an event that is about no run."""
    key = event.user_id if event.graph_exec_id is UNSET else event.graph_exec_id
    return StoredEvent(event.source[1:], str(key).encode(), encode_event(event))
