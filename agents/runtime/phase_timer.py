"""Time that a worker spends per phase; phases may overlap."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

from execstream.agents.runtime.metrics import PHASE_SECONDS


class Phases:
    """Seconds spent per phase since the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._reported: dict[str, float] = {}
        self._metrics: dict[str, Histogram] = {}  # to look one up by its label takes a lock

    def delta(self) -> dict[str, float]:
        """The seconds by phase, rounded; empty when nothing was done since the last call."""
        if self.seconds == self._reported:
            return {}
        self._reported = dict(self.seconds)
        return {phase: round(spent, 3) for phase, spent in self.seconds.items()}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
            if phase not in self._metrics:
                self._metrics[phase] = PHASE_SECONDS.labels(phase)
            self._metrics[phase].observe(spent)
