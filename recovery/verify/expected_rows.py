"""A run's rows recomputed from its journal, by the functions that make them live."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from msgspec import Raw

from execstream.recovery.verify.report import REBUILD, Difference
from execstream.recovery.verify.soundness import flaw
from execstream.storage.commit.write_set import Row, WriteSet
from execstream.storage.log.run_states import entry_cell, entry_of
from execstream.storage.unreadable_rows import NOT_AS_WRITTEN
from execstream.streams.fold import evolve, new_run
from execstream.streams.journal import Entry
from execstream.streams.state import Run

_SOME_VALUE = Raw(b"null")  # stands for a value, which no row depends on
MOST_SAID = 200  # characters of a value

# Columns of `graph_execution`, by position, that the rest of a journal does not determine.
_ID, _STATS, _TRIMMED_AT = 0, 11, 22
_KNOWN_FROM_REST = (4, 12, 13, 14, 15, 17, 18, 19, 20)
_ERASED_COLUMNS = (5, 6, 7, 11, 23)


@dataclass(slots=True)
class Folded:
    """The result of folding journals: the rows of runs and steps that must be there."""

    runs: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)


class Rows:
    """Folds journals of whole runs, entry by entry, and collects rows and impossible entries."""

    def __init__(self) -> None:
        self.flaws: list[Difference] = []
        self.broken: set[str] = set()
        self.unreadable: set[str] = set()
        self.entries = 0
        self._write_set = WriteSet()
        self._run: Run | None = None
        self._last: tuple[int, int] = (-1, -1)

    def add(self, row: asyncpg.Record) -> None:
        """The next row of the journal, run by run, each from its first entry on."""
        run_id = str(row["graph_exec_id"])
        self.entries += 1
        if run_id in self.broken:
            return
        if self._run is None or self._run.id != run_id:
            self._run, self._last = None, (-1, -1)
        try:
            self._fold(run_id, row)
        except NOT_AS_WRITTEN as error:
            found = f"{type(error).__name__}: {error}"[:MOST_SAID]
            self._note(run_id, row, entry_cell(row).column or "*", "as commits write it", found)
            self.unreadable.add(run_id)

    def _fold(self, run_id: str, row: asyncpg.Record) -> None:
        entry = entry_of(row)
        if row["has_data"]:
            entry.data = _SOME_VALUE
        if not self._is_sound(run_id, row, entry):
            return
        if self._run is None:
            self._run = new_run(run_id, entry, row["source_partition"])
        evolve(self._run, entry)
        self._run.outcomes.clear()  # only the application of commands asks for them
        source = (row["source_offset"], row["source_index"])
        self._write_set.add_entry(self._run, entry, row["source_partition"], *source)
        self._write_set.entries.clear()
        self._last = source

    def take(self) -> Folded:
        """Return the rows added since the last call."""
        write_set, self._write_set = self._write_set, WriteSet()
        write_set.build_rows()
        return Folded(
            [row for row in write_set.run_rows if row[_ID] not in self.broken],
            [row for row in write_set.step_rows if row[1] not in self.broken],
        )

    def _is_sound(self, run_id: str, row: asyncpg.Record, entry: Entry) -> bool:
        wrong = flaw(self._run, entry)
        if wrong is not None:
            self._note(run_id, row, *wrong)
            return False
        if (row["source_offset"], row["source_index"]) <= self._last:
            self._note(run_id, row, "source_offset", f"above {self._last}", row["source_offset"])
            return False
        if self._run is None:
            day, partition = entry.at.date(), row["source_partition"]
        else:
            day, partition = self._run.created_at.date(), self._run.partition
        for column, expected in (("run_day", day), ("source_partition", partition)):
            if row[column] != expected:
                self._note(run_id, row, column, str(expected), str(row[column]))
                return False
        return True

    def _note(self, run_id: str, row: asyncpg.Record, column: str, *values: Any) -> None:
        expected, found = values
        self.broken.add(run_id)
        step = row["node_exec_id"]
        self.flaws.append(
            Difference(
                kind="journal",
                field=column,
                expected=expected,
                found=found,
                mend=REBUILD,
                graph_exec_id=run_id,
                node_exec_id=None if step is None else str(step),
                place={"seq": row["seq"]},
            )
        )


def rest_row(head: asyncpg.Record, rest: Sequence[asyncpg.Record], loaded: Run) -> Row:
    """The row of a run that has only `rest` of its journal: `loaded` is its stored state, evolved
    by `rest`.
    """
    write_set = WriteSet()
    for row in rest:
        last = (row["source_partition"], row["source_offset"], row["source_index"])
        write_set.add_entry(loaded, entry_of(row), *last)
    write_set.build_rows()
    last = write_set.run_rows[0]
    columns = list(head.values())
    for column in _KNOWN_FROM_REST:
        columns[column] = last[column]
    if last[_STATS] is not None:
        columns[_STATS] = last[_STATS]
    if rest[-1]["is_closing"]:
        for column in (*_ERASED_COLUMNS, _TRIMMED_AT):
            columns[column] = None
    return tuple(columns)
