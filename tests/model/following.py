"""A trace that the model follows: each step of it must be enabled.

The model has one partition. What a worker's other partitions cause, it is told beside its steps.
"""

from collections.abc import Sequence

from tests.model.protocol import NOTHING, OWNS, RELEASED, Protocol, System, Worker

ENDLESS = 10**6  # faults


class NotEnabled(AssertionError):
    """The model cannot take a step that the code has taken."""


class Follower:
    """The state that the model has come to. `trace`: all labels so far."""

    def __init__(self, log: Sequence[int]) -> None:
        self.state = System(faults=ENDLESS)
        self.trace: list[str] = []
        self._model = Protocol(log, swaps=True)

    def enabled(self) -> dict[str, System]:
        """What may happen next."""
        return {step.label: step.after for step in self._model.steps(self.state)}

    def step(self, label: str) -> None:
        """Take the step `label`, or raise NotEnabled."""
        self.trace.append(label)
        enabled = self.enabled()
        if label not in enabled:
            raise NotEnabled(f"{label} is not among {sorted(enabled)} after {self.trace[-40:]}")
        self.state = enabled[label]

    def release(self, number: int, epoch: int) -> None:
        """A batch of other partitions, claimed with this one at `epoch`, is fenced: the worker
        `number` gives all of them up.
        """
        worker = self.state.workers[number]
        if worker.phase == OWNS and worker.epoch == epoch:
            self.trace.append(f"release {number}")
            lost = Worker(assigned=worker.assigned, phase=RELEASED, commit=worker.commit)
            self._replace(number, lost._replace(jobs=worker.jobs, backlog=worker.backlog))

    def drop(self, number: int, place: tuple[int, int], sent: tuple[int, int] | None) -> None:
        """The worker folds from `place` on, an offset and the epoch. A batch of the same place, or
        of another epoch, that is not the one `sent` is dropped: it waited for a batch that has
        nothing of this partition.
        """
        worker = self.state.workers[number]
        expected, epoch = place
        commit, folded = worker.commit, worker.folded
        begun = None if commit is None else (commit.expected, commit.epoch)
        is_next = begun is not None and begun[0] != expected and begun[1] == epoch
        if begun != sent and not is_next:
            worker = worker._replace(commit=None)
        if folded is not None and folded.expected == expected:
            worker = worker._replace(folded=None)
        if worker.next != expected:
            worker = worker._replace(next=expected, cache=NOTHING)
        self._replace(number, worker)

    def _replace(self, number: int, worker: Worker) -> None:
        workers = [*self.state.workers]
        workers[number] = worker
        self.state = self.state._replace(workers=tuple(workers))
