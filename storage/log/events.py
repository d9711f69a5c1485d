"""From rows to events: as they were told when they happened.

An event of a step names its node and block and carries its times, which the journal tells with
earlier entries; so the states of runs are kept, as long as they are in use.
"""

from collections.abc import Sequence

import asyncpg

from execstream.storage.log.run_states import load_runs
from execstream.storage.log.unpublished import entry_event, key_value_event, refusal_event
from execstream.streams.events import Event
from execstream.streams.state import Run

MOST_STEPS = 50_000  # of all runs that are kept, and a run counts as a step


class EventBuilder:
    """Makes events of rows that come in the order of their sources."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}  # the least recently used first

    async def events(
        self, connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]
    ) -> list[Event]:
        """The events of `rows`, which `connection` has just read and still sees."""
        firsts: dict[str, int] = {}
        for row in rows:
            if row["seq"] is not None:
                firsts.setdefault(str(row["graph_exec_id"]), row["seq"])
        await self._recall(connection, firsts)
        events = [self._event(row) for row in rows]
        self._trim(firsts)
        return events

    async def _recall(self, connection: asyncpg.Connection, firsts: dict[str, int]) -> None:
        """Have each run stand before its first entry; one that begins with it does not exist."""
        known = {run_id: self._runs.pop(run_id) for run_id in firsts if run_id in self._runs}
        for run_id, run in known.items():
            if run.last_seq + 1 == firsts[run_id]:
                self._runs[run_id] = run
        missing = {
            run_id: seq for run_id, seq in firsts.items() if seq > 1 and run_id not in self._runs
        }
        if missing:
            self._runs |= await load_runs(connection, list(missing), missing)

    def _event(self, row: asyncpg.Record) -> Event:
        if row["seq"] is not None:
            return entry_event(self._runs, row)
        return refusal_event(row) if row["reason"] is not None else key_value_event(row)

    def _trim(self, used: dict[str, int]) -> None:
        for run_id in used:
            self._runs[run_id].outcomes.clear()  # only who applies commands asks for them
        steps = sum(1 + len(run.steps) for run in self._runs.values())
        while steps > MOST_STEPS:
            steps -= 1 + len(self._runs.pop(next(iter(self._runs))).steps)
