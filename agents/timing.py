"""Where a worker's time goes, by phase; phases may overlap."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds spent per phase since the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
