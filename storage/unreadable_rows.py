"""Stored rows that cannot be read: the rule that such a row concerns its run alone.

Rows are written by commits that were checked, so one of these was changed by hand, by a defect, or
by another version. A read of one run raises UnreadableRun, which names the row and the way out; a
read of many leaves the run out, and notes it here for the log, the metrics and the exit code of
commands. Rows that are of no run are left out one by one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import msgspec
from pydantic import ValidationError

from execstream.storage.querying import parse_id
from execstream.storage.schema.tables import JOURNAL, RUNS, STEPS
from execstream.streams.errors import Fatal
from execstream.streams.fold import GapInJournal

MOST_NOTED = 10_000  # later ones are logged each time
MOST_NAMED = 5  # runs in a sentence

Row = TypeVar("Row")
Item = TypeVar("Item")

# Raised when a value has another type or form than the one that was written.
NOT_AS_WRITTEN = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError),
    *(RecursionError, msgspec.MsgspecError, GapInJournal),
)

noted: set[str] = set()
"""What was left out since the process started: ids of runs, and names of other tables."""


class Cell(NamedTuple):
    """A value of a run: its table, the row within the run such as `entry 3`, and the column;
    unknown parts are empty.
    """

    table: str
    row: str = ""
    column: str = ""

    def __str__(self) -> str:
        column = f"column {self.column}" if self.column else ""
        return " ".join(filter(None, (self.table, self.row, column)))


UNKNOWN_CELL = Cell("")


class UnreadableRow(Fatal):
    """A stored row cannot be read. `subject`: its table, or its run; `cell`: the place of the
    fault.
    """

    def __init__(self, table: str, error: BaseException) -> None:
        self._explain(table, f"`{table}`", "--all", error, UNKNOWN_CELL)

    def _explain(
        self, subject: str, owner: str, arguments: str, error: BaseException, cell: Cell
    ) -> None:
        what = ", ".join(filter(None, (str(cell), type(error).__name__)))
        super().__init__(
            f"A stored row of {owner} cannot be read ({what}): "
            f"`execstream verify {arguments}` shows its fault."
        )
        self.subject, self.cell = subject, cell


class UnreadableRun(UnreadableRow):
    """A stored row of a run cannot be read."""

    def __init__(self, graph_exec_id: str, error: BaseException, cell: Cell = UNKNOWN_CELL) -> None:
        is_of_run = cell.table in ("", RUNS.name, STEPS.name, JOURNAL.name)
        arguments = graph_exec_id if is_of_run else "--all"
        self._explain(graph_exec_id, f"run {graph_exec_id}", arguments, error, cell)
        self.graph_exec_id = graph_exec_id


def unreadable_run(
    graph_exec_id: str, error: BaseException, cell: Cell = UNKNOWN_CELL
) -> UnreadableRun:
    """Return the error of a run of which `error` was raised, which may be that error already."""
    if isinstance(error, UnreadableRun):
        return error
    wrapped = UnreadableRun(graph_exec_id, error, _completed(cell, error))
    wrapped.__cause__ = error
    return wrapped


# Fields of models that are columns of another name.
_COLUMNS = {"input_data": "execution_data", "is_dry_run": "dry_run"}


def _completed(cell: Cell, error: BaseException) -> Cell:
    """`cell` with its column, where the error knows which it is."""
    if cell.column or not cell.table or not isinstance(error, ValidationError):
        return cell
    field = str(next(iter(error.errors(include_input=False)[0]["loc"]), ""))
    return cell._replace(column=_COLUMNS.get(field, field))


@contextmanager
def reading(graph_exec_id: object, cell: Cell = UNKNOWN_CELL) -> Iterator[None]:
    """Raise UnreadableRun for the run in place of the errors of its rows in the context."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        raise unreadable_run(str(graph_exec_id), error, cell) from error


@contextmanager
def reading_row(table: str) -> Iterator[None]:
    """Raise UnreadableRow in place of the errors of a row of `table`, which belongs to no run."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        raise UnreadableRow(table, error) from error


def note(error: UnreadableRow) -> None:
    """Log a row that is left out, the first time, and count it."""
    if error.subject in noted:
        return
    if len(noted) < MOST_NOTED:
        noted.add(error.subject)
    import structlog  # noqa: PLC0415 - it imports rich, for an error that is rare

    log = structlog.get_logger(__name__)
    log.error("unreadable_row", subject=error.subject, error=repr(error.__cause__)[:200])


def readable(rows: Iterable[Row], build: Callable[[Row], Item]) -> list[Item]:
    """Build an item of each row, without those that cannot be read, which are noted.

    `build` raises UnreadableRow for those.
    """
    items = []
    for row in rows:
        try:
            items.append(build(row))
        except UnreadableRow as error:
            note(error)
    return items


def left_out() -> str | None:
    """The rows left out since the process started, as a sentence with the way out."""
    if not noted:
        return None
    runs = sorted(one for one in noted if parse_id(one) is not None)
    tables = sorted(noted.difference(runs))
    counts = [f"{len(runs):,} runs"] * bool(runs) + [f"rows of {', '.join(tables)}"] * bool(tables)
    named = f", {', '.join(runs[:MOST_NAMED])} among them" if runs else ""
    command = f"execstream verify {runs[0]}" if runs else "execstream verify --all"
    return (
        f"Left out: {' and '.join(counts)}{named}, of which a stored row cannot be read. "
        f"`{command}` shows the fault."
    )
