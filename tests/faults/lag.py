"""The lag of a consumer, in seconds, and the time that it takes to catch up after a fault."""

import asyncio
import time
from collections import deque

from tests.faults.patience import Impatient
from tests.faults.progress import Offsets, Progress

INTERVAL = 0.2  # seconds
CAUGHT_UP = 1.0  # seconds behind
QUIET = 1.5  # seconds without being behind, then a fault counts as over
AT_LEAST = 2.5  # seconds a fault has to show
PATIENCE = 90.0  # seconds
_KEPT = 3_000  # samples


class Lag:
    """Watches `progress` run after `target`, which always grows unless something is wrong."""

    def __init__(self, progress: Progress, target: Progress) -> None:
        self._progress = progress
        self._target = target
        self._targets: deque[tuple[float, Offsets]] = deque(maxlen=_KEPT)
        self._last_behind = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        self._stopping = True  # clients of servers may swallow a cancellation
        if self._watching is not None:
            await self._watching

    async def recovered(self, since: float) -> float:
        """Return when it has caught up after a fault; seconds from `since` until it had.

        Called when the fault is over, which may take its time to show.
        """
        entered = time.monotonic()
        while True:
            now = time.monotonic()
            if now - entered > AT_LEAST and now - self._last_behind > QUIET:
                return max(self._last_behind - since, 0.0)
            if now - entered > PATIENCE:
                raise Impatient(f"Not caught up within {PATIENCE:.0f} seconds after a fault.")
            await asyncio.sleep(INTERVAL)

    async def _watch(self) -> None:
        while not self._stopping:
            if (target := await self._target()) is not None:
                self._targets.append((time.monotonic(), target))
            reached = await self._progress()
            if reached is None or self._is_behind(reached):
                self._last_behind = time.monotonic()
            await asyncio.sleep(INTERVAL)

    def _is_behind(self, reached: Offsets) -> bool:
        then = time.monotonic() - CAUGHT_UP
        due = next((target for at, target in reversed(self._targets) if at <= then), {})
        return due == self._targets[-1][1] or any(
            reached.get(partition, 0) < offset for partition, offset in due.items()
        )
