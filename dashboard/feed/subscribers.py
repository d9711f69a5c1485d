"""Subscribers: bounded queues between the one reader and the streams."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from execstream.dashboard.feed.cursor import Position

MOST_BYTES = 2 * 1024 * 1024
MOST_BATCHES = 200


class Batch(NamedTuple):
    """Frames, and the position after them."""

    frames: bytes
    position: Position


class Overtaken(Exception):
    """The queue was full; its content is dropped, and no more comes."""


class Closed(Exception):
    """The feed ends."""


class Subscriber:
    """The queue of one stream.

    Attributes:
        position: everything in the stream's scope up to there was taken.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self._batches: deque[Batch] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._end: type[Exception] | None = None

    def put(self, batch: Batch) -> bool:
        """Queue a batch; False when there is no room, and the subscriber is overtaken."""
        if self._batches and self._is_full(batch):
            self.end(Overtaken)
            return False
        self._batches.append(batch)
        self._bytes += len(batch.frames)
        self._changed.set()
        return True

    def end(self, why: type[Exception]) -> None:
        """Drop the queued batches, and have `take` raise."""
        self._end = why
        self._batches.clear()
        self._changed.set()

    async def take(self, patience: float) -> bytes:
        """The next frames that are queued, as soon as there are any; none after `patience` seconds.

        They are not joined with those after them: streams share them in memory.

        Raises:
            Overtaken, Closed: nothing more comes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        if not self._changed.is_set():
            return b""
        if self._end is not None:
            raise self._end
        batch = self._batches.popleft()
        self._bytes -= len(batch.frames)
        if not self._batches:
            self._changed.clear()
        self.position = batch.position
        return batch.frames

    def _is_full(self, batch: Batch) -> bool:
        return len(self._batches) >= MOST_BATCHES or self._bytes + len(batch.frames) > MOST_BYTES
