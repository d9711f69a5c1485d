"""Queues of executions."""

import asyncio
import queue as queues
from concurrent.futures import ThreadPoolExecutor

from execstream.queue import AsyncExecutionQueue, ExecutionQueue


def test_first_in_first_out() -> None:
    """Entries come back in their order, and then there are none."""
    queue = ExecutionQueue[str]()

    assert queue.add("a") == "a"
    queue.add("b")

    assert not queue.empty()
    assert [queue.get(), queue.get_or_none(), queue.get_or_none()] == ["a", "b", None]
    assert queue.empty()


def test_threads_share_a_queue() -> None:
    """Each of many is taken once, by whichever thread, though takers were there first."""
    queue = ExecutionQueue[int]()

    with ThreadPoolExecutor(8) as threads:
        taken = [threads.submit(queue.get) for _ in range(4)]
        list(threads.map(queue.add, range(1000)))
        rest = [threads.submit(queue.get) for _ in range(996)]

    assert sorted(each.result() for each in taken + rest) == list(range(1000))
    assert queue.empty()


async def test_tasks_share_a_queue() -> None:
    """A waiting task gets a later entry."""
    queue = AsyncExecutionQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    assert queue.empty()
    assert queue.add("a") == "a"
    assert await waiting == "a"
    assert queue.get_or_none() is None


def test_the_queue_of_the_original_is_reachable() -> None:
    """Callers take its size, and wait with a limit; both see the same entries."""
    own = ExecutionQueue[str]()
    own.add("first")

    assert isinstance(own.queue, queues.Queue)
    assert (own.queue.qsize(), own.queue.get(timeout=1), own.empty()) == (1, "first", True)
