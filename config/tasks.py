"""The end of tasks: each one that is cancelled and awaited is ended here."""

import asyncio
from typing import Any

CANCEL_AGAIN = 1.0  # seconds


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all of them have ended. asyncio reports their errors.

    A library may swallow a cancellation that arrives as its own wait ends, as redis-py does while
    it connects again; the cancellation is therefore repeated every `CANCEL_AGAIN`.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN)
