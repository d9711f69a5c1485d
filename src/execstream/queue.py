"""Queues that hand executions from producers of work to executors.

They live in memory only: entries left when the process ends are found again in the tables.
"""

import asyncio
import queue
from typing import Generic, TypeVar

T = TypeVar("T")


class ExecutionQueue(Generic[T]):
    """First in, first out; shared by any number of threads.

    Attributes:
        queue: the entries, for callers that use more of it than the methods here.
    """

    def __init__(self) -> None:
        self.queue: queue.Queue[T] = queue.Queue()

    def add(self, execution: T) -> T:
        """Put `execution` at the end and return it."""
        self.queue.put(execution)
        return execution

    def get(self) -> T:
        """Take the oldest, waiting until there is one."""
        return self.queue.get()

    def get_or_none(self) -> T | None:
        """Take the oldest, or None when there is none now."""
        try:
            return self.queue.get_nowait()
        except queue.Empty:
            return None

    def empty(self) -> bool:
        """Return whether it is empty now; another thread may add an entry at any time."""
        return self.queue.empty()


class AsyncExecutionQueue(Generic[T]):
    """First in, first out; shared by the tasks of one event loop."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[T] = asyncio.Queue()

    def add(self, execution: T) -> T:
        """Put `execution` at the end and return it."""
        self._queue.put_nowait(execution)
        return execution

    async def get(self) -> T:
        """Take the oldest, waiting until there is one."""
        return await self._queue.get()

    def get_or_none(self) -> T | None:
        """Take the oldest, or None when there is none now."""
        try:
            return self._queue.get_nowait()
        except asyncio.QueueEmpty:
            return None

    def empty(self) -> bool:
        """Return whether it is empty now."""
        return self._queue.empty()
