"""Checks of runs and steps against their journals, in bounded pieces, and of journals against the
rules.

A run whose journal was erased, or dropped by retention, is compared with the rest of it.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import TypeVar

import asyncpg

from execstream.recovery.verify.expected_rows import Folded, Rows, rest_row
from execstream.recovery.verify.report import (
    MEND_ALL,
    REBUILD,
    Difference,
    Report,
    mend_run,
    unreadable,
)
from execstream.recovery.verify.row_comparison import (
    all_entries,
    compare,
    count_trimmed,
    entries_of,
    heads,
    runs_without_journal,
    stray_steps,
)
from execstream.storage.log.run_states import load_runs
from execstream.storage.schema.tables import RUNS, STEPS
from execstream.storage.unreadable_rows import UnreadableRun
from execstream.streams.progress import ProgressCallback

ENTRIES_AT_ONCE = 10_000  # after the last of which a run ends
BYTES_AT_ONCE = 64 * 1024 * 1024  # of details, likewise
RUNS_AT_ONCE = 100
_WHAT = "Runs"

_Item = TypeVar("_Item")
Span = tuple[int, date, date]  # source partition, first and last day


@dataclass(slots=True)
class Piece:
    """Whole journals of some runs: `rows` of those that begin with their first entry, `rests` of
    the others."""

    folding: Rows = field(default_factory=Rows)
    ids: list[str] = field(default_factory=list)
    rests: dict[str, list[asyncpg.Record]] = field(default_factory=dict)
    entries: int = 0
    size: int = 0

    @property
    def is_full(self) -> bool:
        return self.entries >= ENTRIES_AT_ONCE or self.size >= BYTES_AT_ONCE

    def add(self, row: asyncpg.Record) -> None:
        run_id = str(row["graph_exec_id"])
        self.entries += 1
        self.size += len(row["detail"] or "")
        if not self.ids or self.ids[-1] != run_id:
            self.ids.append(run_id)
            if row["seq"] != 1:
                self.rests[run_id] = []
        if run_id in self.rests:
            self.rests[run_id].append(row)
        else:
            self.folding.add(row)


def in_parts(items: Iterable[_Item], most: int) -> Iterator[list[_Item]]:
    """`items` in lists of at most `most`."""
    left = iter(items)
    while part := list(islice(left, most)):
        yield part


class RunChecks:
    """Checks runs and remembers which of them can only be judged in part."""

    def __init__(
        self, connection: asyncpg.Connection, report: Report, report_progress: ProgressCallback
    ) -> None:
        self._connection = connection
        self._report = report
        self._report_progress = report_progress
        self._total = 0
        self.runs = self.entries = 0
        self.erased: list[Span] = []

    async def check_all(self, total: int) -> None:
        """Check all runs, about `total` of them, and rows that belong to none."""
        self._total = total
        await self._check(all_entries(self._connection))
        await self._check_without_journal(None)
        for stray, has_journal in await stray_steps(self._connection):
            self._report.add_rows([stray], MEND_ALL if has_journal else REBUILD)
            self._report.strays.add(stray.value("graph_exec_id"))

    async def check_some(self, run_ids: Collection[str]) -> None:
        """The runs of `run_ids`."""
        self._total = len(run_ids)
        for some in in_parts(run_ids, RUNS_AT_ONCE):
            await self._check(entries_of(self._connection, some))
        await self._check_without_journal(run_ids)

    async def _check(self, entries: AsyncIterator[asyncpg.Record]) -> None:
        async for piece in _pieces(entries):
            await self._check_piece(piece)
            self.runs += len(piece.ids)
            self.entries += piece.entries
            self._report_progress(_WHAT, self.runs, max(self.runs, self._total))

    async def _check_piece(self, piece: Piece) -> None:
        folded = await fold_piece(self._connection, piece, self._report)
        self.erased += folded.erased
        broken = piece.folding.broken
        self._report.broken |= broken
        self._report.unreadable |= piece.folding.unreadable
        self._report.add(*piece.folding.flaws)
        sound = [run_id for run_id in piece.ids if run_id not in broken]
        differing = await compare(
            self._connection, RUNS, folded.rows.runs, "id = any($2::uuid[])", sound
        )
        kept = [run_id for run_id in sound if run_id not in folded.trimmed]
        differing += await compare(
            self._connection,
            STEPS,
            folded.rows.steps,
            "graph_exec_id = any($2::uuid[])",
            kept,
        )
        for row in differing:
            run_id = row.value("id" if row.table is RUNS else "graph_exec_id")
            self._report.add_rows([row], mend_run(run_id))
            self._report.runs.add(run_id)

    async def _check_without_journal(self, run_ids: Collection[str] | None) -> None:
        """Check runs without any journal: retention dropped it and set `trimmed_at`, or it is an
        error.
        """
        self.runs += await count_trimmed(self._connection, run_ids)
        for run_id in await runs_without_journal(self._connection, run_ids):
            self.runs += 1
            self._report.strays.add(run_id)
            self._report.add(
                Difference("journal", "*", "there", "missing", REBUILD, graph_exec_id=run_id)
            )
        self._report_progress(_WHAT, self.runs, self.runs)


async def _pieces(entries: AsyncIterator[asyncpg.Record]) -> AsyncIterator[Piece]:
    piece = Piece()
    last: str | None = None
    async for row in entries:
        run_id = str(row["graph_exec_id"])
        if run_id != last and piece.is_full:
            yield piece
            piece = Piece()
        last = run_id
        piece.add(row)
    if piece.ids:
        yield piece


@dataclass(slots=True)
class FoldedPiece:
    """The rows that must be there; `trimmed`: runs with lost steps; `erased`: partitions and times
    that may have had lost events.
    """

    rows: Folded
    trimmed: set[str] = field(default_factory=set)
    erased: list[Span] = field(default_factory=list)


async def fold_piece(connection: asyncpg.Connection, piece: Piece, report: Report) -> FoldedPiece:
    """Fold `piece`; impossible entries in it go into `piece.folding`."""
    folded = FoldedPiece(piece.folding.take())
    if not piece.rests:
        return folded
    rows = await heads(connection, piece.rests)
    whole = [r for r in piece.rests if _is_gapless(piece, r, rows.get(r))]
    errors: list[UnreadableRun] = []
    loaded = await load_runs(connection, whole, unreadable=errors.append)
    for error in errors:
        piece.folding.broken.add(error.graph_exec_id)
        piece.folding.unreadable.add(error.graph_exec_id)
        piece.folding.flaws.append(unreadable(error))
    for run_id in loaded:
        head, rest = rows[run_id], piece.rests[run_id]
        folded.rows.runs.append(rest_row(head, rest, loaded[run_id]))
        if rest[-1]["is_closing"]:
            days = sorted((head["created_at"].date(), rest[-1]["run_day"], rest[-1]["at"].date()))
            folded.erased.append((rest[-1]["source_partition"], days[0], days[-1]))
        else:
            folded.trimmed.add(run_id)
    report.checked["partly_kept_runs"] = report.checked.get("partly_kept_runs", 0) + len(loaded)
    return folded


def _is_gapless(piece: Piece, run_id: str, head: asyncpg.Record | None) -> bool:
    """Return whether the rest of a journal is one that erasing or retention leaves."""
    rest = piece.rests[run_id]
    seqs = [row["seq"] for row in rest]
    is_rest = head is not None and (
        (len(rest) == 1 and rest[0]["is_closing"]) or head["trimmed_at"] is not None
    )
    expected = None
    if not is_rest:
        expected = 1
    elif seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        expected = next(n for n, seq in enumerate(seqs, start=seqs[0]) if seq != n)
    elif any(row["node_exec_id"] is not None for row in rest):
        expected = seqs[0]
    if expected is None:
        return True
    piece.folding.broken.add(run_id)
    piece.folding.flaws.append(
        Difference(
            kind="journal",
            field="seq",
            expected=expected,
            found=seqs[0],
            mend=REBUILD,
            graph_exec_id=run_id,
            place={"seq": seqs[0]},
        )
    )
    return False
