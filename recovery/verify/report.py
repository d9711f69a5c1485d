"""The report of a verification: the rows checked, those left out, and every difference.

A difference names its cell and the command that mends it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from execstream.recovery.verify.row_comparison import Differing
from execstream.storage.schema.tables import RUNS, STEPS
from execstream.storage.unreadable_rows import UnreadableRun

MOST_LISTED = 1_000  # differences of a kind; the others are counted

MEND_ALL = "execstream verify --all --mend"
# By force, because the live schema is wrong.
REBUILD = "execstream replay --into rebuilt --swap --force"
# The topic itself keeps its events: only listeners can receive corrected ones.
REPUBLISH = "execstream replay --events --to-redis"


class Difference(msgspec.Struct, frozen=True):
    """A cell that differs. `kind`: the table, or event, block_stats, offset; `field`: the column,
    `*` for a whole row. `place`: the parts of the key beside run and step.
    """

    kind: str
    field: str
    expected: Any
    found: Any
    mend: str
    graph_exec_id: str | None = None
    node_exec_id: str | None = None
    place: dict[str, Any] = {}


@dataclass
class Report:
    """Collects the findings of the checks."""

    checked: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    mended: int = 0
    # The input of `mend`: runs with wrong rows, runs and users with wrong journals, runs with
    # unreadable rows, ids of no run, and rows; of the journal those that the commands topic still
    # has.
    runs: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    broken_users: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    key_values: list[Differing] = field(default_factory=list)
    totals: list[Differing] = field(default_factory=list)
    journal: list[Differing] = field(default_factory=list)

    @property
    def mendable_runs(self) -> set[str]:
        """Runs with a journal that the topic can correct, entry by entry."""
        told = {_place(row.expected) for row in self.journal if row.expected is not None}
        mendable: set[str] = set()
        untold: set[str] = set()
        for row in self.journal:
            # A row under another key has the source of an entry in the topic.
            is_told = row.expected is not None or _place(row.found or {}) in told
            (mendable if is_told else untold).add(row.value("graph_exec_id"))
        return mendable - untold

    @property
    def found(self) -> int:
        return sum(self.counts.values())

    @property
    def is_good(self) -> bool:
        return self.found == 0

    def add(self, *differences: Difference) -> None:
        for one in differences:
            self.counts[one.kind] += 1
            if self.counts[one.kind] <= MOST_LISTED:
                self.differences.append(one)

    def add_rows(self, rows: Iterable[Differing], mend: str) -> None:
        """Rows of any table, cell by cell."""
        for row in rows:
            self.add(*_of_row(row, mend))

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_good,
            "checked": self.checked,
            "left_out": self.left_out,
            "found": self.found,
            "mended": self.mended,
            "differences": self.differences,
        }


_SOURCE = ("source_partition", "source_offset", "source_index")


def _place(entry: Mapping[str, msgspec.Raw]) -> tuple[bytes, ...]:
    """The source of an entry of the journal, as JSON."""
    return tuple(bytes(entry[name]) for name in _SOURCE)


def unreadable(error: UnreadableRun) -> Difference:
    """The difference reported for a run that cannot be loaded."""
    cell = error.cell
    return Difference(
        kind=cell.table or RUNS.name,
        field=cell.column or "*",
        expected="as commits write it",
        found=repr(error.__cause__)[:200],
        mend=REBUILD,
        graph_exec_id=error.graph_exec_id,
        place={"row": cell.row} if cell.row else {},
    )


def mend_run(run_id: str) -> str:
    return f"execstream verify {run_id} --mend"


def _of_row(row: Differing, mend: str) -> Iterable[Difference]:
    names = {name: row.value(name) for name in row.table.key}
    run_id, step_id = _ids(row)
    for column, expected, found in row.cells():
        yield Difference(
            kind=row.table.name,
            field=column,
            expected=expected,
            found=found,
            mend=mend,
            graph_exec_id=run_id,
            node_exec_id=step_id,
            place={} if row.table in (RUNS, STEPS) else names,
        )


def _ids(row: Differing) -> tuple[str | None, str | None]:
    if row.table is RUNS:
        return row.value("id"), None
    if row.table is STEPS:
        return row.value("graph_exec_id"), row.value("id")
    columns = row.expected if row.expected is not None else row.found or {}
    return tuple(  # type: ignore[return-value]
        row.value(name) if name in columns else None for name in ("graph_exec_id", "node_exec_id")
    )
