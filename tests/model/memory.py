"""Postgres and the topic of events in memory, for schedules: they answer when the scheduler says.

The fence follows the SQL function `advance`; rows are those that `WriteSet` makes, and states and
events are made of them by the code that does so from Postgres.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from msgspec import UNSET

from execstream.storage.commit.consumer_offsets import CREATED_ELSEWHERE, FENCED, OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.storage.log.events import StoredEvent, _entry_event, _refusal_event
from execstream.storage.log.run_states import entry_of
from execstream.streams.events import Event, encode_event
from execstream.streams.fold import evolve, new_run
from execstream.streams.state import Run

_JOURNAL = (
    *("graph_exec_id", "seq", "run_day", "at", "command_id", "type", "node_exec_id", "name"),
    *("data", "detail", "was", "status", "source_partition", "source_offset", "source_index"),
)
_REFUSAL = (
    *("source_partition", "source_offset", "command_id", "graph_exec_id", "user_id"),
    *("command_type", "reason", "detail", "at"),
)
Row = dict[str, Any]


class Fenced(asyncpg.PostgresError):  # type: ignore[misc]
    sqlstate = FENCED


class Stale(asyncpg.PostgresError):  # type: ignore[misc]
    sqlstate = CREATED_ELSEWHERE


@dataclass
class Memory:
    """The tables. `next`: by partition; all are claimed at once, so their epoch is the same. `off`:
    a guard of the fence that is left out.
    """

    next: list[int]
    off: str | None = None
    epoch: int = 0
    journal: list[Row] = field(default_factory=list)
    refusals: list[Row] = field(default_factory=list)
    dead: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def claim(self) -> tuple[list[int], int]:
        """The positions, and the epoch that was raised."""
        self.epoch += 1
        return [*self.next], self.epoch

    def commit(self, moves: Sequence[OffsetCommit], rows: WriteSet) -> bool:
        """As `commit_commands`: true when it was there already; raises Fenced or Stale."""
        is_ours = self.off == "epoch" or all(move.epoch == self.epoch for move in moves)
        is_at = self.off == "expected offset" or all(
            move.expected == self.next[move.partition] for move in moves
        )
        if not (is_at and is_ours):
            if is_ours and all(self.next[move.partition] == move.next for move in moves):
                return True
            raise Fenced
        entries = [dict(zip(_JOURNAL, row, strict=True)) for row in rows.entries]
        known = {(row["graph_exec_id"], row["seq"]) for row in self.journal}
        if any((row["graph_exec_id"], row["seq"]) in known for row in entries):
            raise Stale
        for move in moves:
            self.next[move.partition] = move.next
        self.journal += entries
        self.refusals += [dict(zip(_REFUSAL, row, strict=True)) for row in rows.refusals]
        self.dead += [(row[2], row[3]) for row in rows.dead_letters]
        for move in moves:
            tallied = (move.applied, move.duplicate, move.refused, move.dead)
            self.counts = [had + more for had, more in zip(self.counts, tallied, strict=True)]
        return False

    def probe(self, partition: int, expected: int, epoch: int) -> None:
        """As `probe_commit`; raises Fenced."""
        if (expected, epoch) != (self.next[partition], self.epoch):
            raise Fenced

    def effects(self, partition: int) -> tuple[int, ...]:
        """The offsets of a partition with an effect, in ascending order."""
        rows = [*self.journal, *self.refusals]
        mine = {row["source_offset"] for row in rows if row["source_partition"] == partition}
        return tuple(sorted(mine))

    def runs(self, wanted: Collection[str]) -> dict[str, Run]:
        """The states of runs, folded from the journal."""
        runs: dict[str, Run] = {}
        for row in self.journal:
            if (run_id := row["graph_exec_id"]) in wanted:
                entry = entry_of(row)
                if run_id not in runs:
                    runs[run_id] = new_run(run_id, entry, row["source_partition"])
                evolve(runs[run_id], entry)
        return runs

    def events(
        self, partition: int, after: tuple[int, int] = (-1, -1), until: int = 2**62
    ) -> list[StoredEvent]:
        """The events of sources above `after` and offsets below `until`."""
        runs: dict[str, Run] = {}
        events = [_entry_event(runs, row) for row in self.journal]
        events += [_refusal_event(row) for row in self.refusals]
        events = sorted(
            [one for one in events if one.source[0] == partition], key=lambda one: one.source
        )
        return [_stored(one) for one in events if after < one.source[1:] and one.source[1] < until]

    def facts(self) -> Sequence[object]:
        """Everything that must not depend on faults."""
        rows = [sorted(some, key=_source) for some in (self.journal, self.refusals)]
        return (self.next, self.counts, rows, sorted(self.dead))


def _source(row: Row) -> tuple[int, ...]:
    """Commits of several partitions may come in any order."""
    return row["source_partition"], row["source_offset"], row.get("source_index", 0)


def _stored(event: Event) -> StoredEvent:
    key = event.user_id if event.graph_exec_id is UNSET else event.graph_exec_id
    return StoredEvent(event.source[1:], str(key).encode(), encode_event(event))
