"""The end of tasks whose library swallows a cancellation."""

import asyncio
from contextlib import suppress

from execstream.config.tasks import CANCEL_AGAIN, end


async def _stubborn(swallowed: list[float]) -> None:
    """Swallow the first cancellation, as a library does whose own wait ends at that moment."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    swallowed.append(asyncio.get_running_loop().time())
    await asyncio.sleep(60)


async def test_a_swallowed_cancellation_is_repeated() -> None:
    """The task ends, after the wait between two cancellations."""
    swallowed: list[float] = []
    task = asyncio.create_task(_stubborn(swallowed))
    await asyncio.sleep(0)
    await asyncio.wait_for(end(task), 10 * CANCEL_AGAIN)

    assert task.cancelled()
    assert len(swallowed) == 1


async def test_ended_tasks_take_no_time() -> None:
    """Tasks that have ended already, and none at all, are no wait."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await asyncio.wait_for(end(task), CANCEL_AGAIN / 2)
    await asyncio.wait_for(end(), CANCEL_AGAIN / 2)
