"""State of a run and its steps that the rules need; a fold of the run's journal.

Holds no payloads, but for the stats of steps that are not over: a cascade adds to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct

from execstream.streams.outcomes import Applied
from execstream.streams.statuses import ExecutionStatus


class Step(Struct, gc=False):
    """One node execution. `added_seq` orders the steps of a run."""

    id: str
    node_id: str
    block_id: str
    status: ExecutionStatus
    added_seq: int
    added_time: datetime
    queued_time: datetime | None = None
    started_time: datetime | None = None
    ended_time: datetime | None = None
    pins: set[str] = set()
    stats: bytes | None = None

    def takes(self, pin: str) -> bool:
        """Return whether it still waits for a value on `pin`."""
        return self.status is ExecutionStatus.INCOMPLETE and pin not in self.pins


@dataclass(slots=True)
class Run:
    """One graph execution. `partition` is the one its `graph.create` came on; `trimmed_at`: when
    retention dropped its journal and steps, of which nothing is known here then."""

    id: str
    partition: int
    user_id: str
    graph_id: str
    graph_version: int
    created_at: datetime
    dry_run: bool = False
    status: ExecutionStatus = ExecutionStatus.INCOMPLETE
    last_seq: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    is_deleted: bool = False
    is_erased: bool = False
    is_shared: bool = False
    share_token_hash: str | None = None
    shared_at: datetime | None = None
    trimmed_at: datetime | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    outcomes: dict[str, Applied] = field(default_factory=dict)
    extra: int = 0  # approximate bytes of the fields of any size: pins, stats, ids of skipped steps
    _by_node: dict[str, list[Step]] = field(default_factory=dict)
    _cursors: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        self.steps[step.id] = step
        self._by_node.setdefault(step.node_id, []).append(step)

    def oldest_taking(self, node_id: str, pin: str) -> Step | None:
        """The first created INCOMPLETE step of `node_id` that lacks `pin`.

        A step that once took the pin, or left INCOMPLETE, never waits for it again, so the search
        goes on where the last one ended: linear in the number of steps over all calls together.
        """
        steps = self._by_node.get(node_id, [])
        cursor = self._cursors.get((node_id, pin), 0)
        while cursor < len(steps) and not steps[cursor].takes(pin):
            cursor += 1
        self._cursors[node_id, pin] = cursor
        return steps[cursor] if cursor < len(steps) else None

    def running_steps(self) -> Iterator[Step]:
        """The running steps, in the order in which they were added."""
        return (s for s in self.steps.values() if s.status is ExecutionStatus.RUNNING)

    def erase(self) -> None:
        """Forget everything but the tombstone."""
        self.is_erased = True
        self.extra = 0
        self.is_shared, self.share_token_hash, self.shared_at = False, None, None
        for forgotten in (self.steps, self.outcomes, self._by_node, self._cursors):
            forgotten.clear()
