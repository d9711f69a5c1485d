"""A trace that the model follows: each step of it must be enabled."""

from collections.abc import Sequence

from tests.model.protocol import Protocol, System

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
