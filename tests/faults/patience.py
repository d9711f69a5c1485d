"""Waiting for an expected state, as long as it comes nearer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

INTERVAL = 0.1  # seconds
STANDSTILL = 45.0  # seconds without progress


class Impatient(Exception):
    """The expected state was not reached."""


async def reached(
    what: str, now: Callable[[], Awaitable[Mapping[int, int] | None]], goal: Mapping[int, int]
) -> None:
    """Return when `now` is at `goal`.

    Raises:
        Impatient: nothing has moved for `STANDSTILL` seconds.
    """
    before: Mapping[int, int] | None = None
    moved_at = time.monotonic()
    while True:
        place = await now()
        if place is not None and all(place.get(number, 0) >= end for number, end in goal.items()):
            return
        if place is not None and place != before:
            before, moved_at = place, time.monotonic()
        if time.monotonic() - moved_at > STANDSTILL:
            raise Impatient(f"{what} stands at {before} and should come to {dict(goal)}.")
        await asyncio.sleep(INTERVAL)
