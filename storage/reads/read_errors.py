"""Errors of reads that have no answer, with the reason."""

from collections.abc import Iterable
from datetime import datetime

from execstream.streams.errors import Fatal


class AmbiguousStep(Fatal):
    """The same step id is in several runs, so the id alone is ambiguous."""

    def __init__(self, node_exec_id: str, graph_exec_ids: Iterable[object]) -> None:
        self.node_exec_id = node_exec_id
        self.graph_exec_ids = sorted(map(str, graph_exec_ids))
        super().__init__(
            f"Step {node_exec_id!r} stands in several runs ({', '.join(self.graph_exec_ids)}): "
            "pass graph_exec_id to choose one."
        )


class InvalidCursor(Fatal):
    """A cursor that no page ever gave out."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"{cursor!r} is not a cursor: pass next_cursor of the page before, or none to start."
        )


class NotYetHappened(Fatal):
    """An entry that a run does not have yet."""

    def __init__(self, graph_exec_id: str, seq: int, last_seq: int) -> None:
        super().__init__(
            f"Run {graph_exec_id} has {last_seq} entries so far: there is no entry {seq} yet."
        )


class PastIsGone(Fatal):
    """The beginning of a run's journal is missing, so its earlier state is unknown."""

    def __init__(self, graph_exec_id: str, trimmed_at: datetime | None) -> None:
        when = "" if trimmed_at is None else f" at {trimmed_at:%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"Retention dropped the journal of run {graph_exec_id}{when}: only its present state "
            "can be shown."
        )
