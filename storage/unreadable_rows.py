"""Stored rows that cannot be read: the rule that such a row concerns its run alone.

Rows are written by commits that were checked, so one of these was changed by hand, by a defect, or
by another version. A read of one run raises UnreadableRun; a read of many leaves the run out, and
notes it here for the log and the metrics. Rows that are of no run are left out one by one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from execstream.streams.errors import Fatal
from execstream.streams.fold import GapInJournal

MOST_NOTED = 10_000  # later ones are logged each time

Row = TypeVar("Row")
Item = TypeVar("Item")

# Raised when a value has another type or form than the one that was written.
NOT_AS_WRITTEN = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError),
    *(RecursionError, msgspec.MsgspecError, GapInJournal),
)

noted: set[str] = set()
"""What was left out since the process started: ids of runs, and names of other tables."""


class UnreadableRow(Fatal):
    """A stored row cannot be read. `subject`: its table, or its run."""

    def __init__(self, table: str, error: BaseException) -> None:
        self._explain(table, f"`{table}`", "--all", error)

    def _explain(self, subject: str, owner: str, arguments: str, error: BaseException) -> None:
        super().__init__(
            f"A stored row of {owner} cannot be read ({type(error).__name__}): "
            f"`execstream verify {arguments}` shows what is wrong with it."
        )
        self.subject = subject


class UnreadableRun(UnreadableRow):
    """A stored row of a run cannot be read."""

    def __init__(self, graph_exec_id: str, error: BaseException) -> None:
        self._explain(graph_exec_id, f"run {graph_exec_id}", graph_exec_id, error)
        self.graph_exec_id = graph_exec_id


def unreadable_run(graph_exec_id: str, error: BaseException) -> UnreadableRun:
    """Return the error of a run of which `error` was raised."""
    wrapped = UnreadableRun(graph_exec_id, error)
    wrapped.__cause__ = error
    return wrapped


@contextmanager
def reading(graph_exec_id: object) -> Iterator[None]:
    """Raise UnreadableRun for the run in place of what its rows raise in the context."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        raise UnreadableRun(str(graph_exec_id), error) from error


@contextmanager
def reading_row(table: str) -> Iterator[None]:
    """Raise UnreadableRow in place of what a row of `table`, which is of no run, raises."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        raise UnreadableRow(table, error) from error


def note(error: UnreadableRow) -> None:
    """Log what is left out, the first time, and count it."""
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
