"""What a read cannot answer, and why."""

from collections.abc import Iterable

from streams.errors import Fatal


class AmbiguousStep(Fatal):
    """The same step id stands in several runs, so the id alone does not tell which is meant."""

    def __init__(self, node_exec_id: str, graph_exec_ids: Iterable[object]) -> None:
        self.node_exec_id = node_exec_id
        self.graph_exec_ids = sorted(map(str, graph_exec_ids))
        super().__init__(
            f"Step {node_exec_id!r} stands in several runs ({', '.join(self.graph_exec_ids)}): "
            "pass graph_exec_id to say which one is meant."
        )


class InvalidCursor(Fatal):
    """A cursor that no page ever gave out."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"{cursor!r} is not a cursor: pass next_cursor of the page before, or none to start."
        )
