"""A limit to the rate of records per second."""

import asyncio


class RateLimiter:
    """Limits records to `rate` per second; 0: without a limit. For one event loop."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0.0  # the loop's time of the next record

    def burst(self, most: int) -> int:
        """Return the number of records that may go at once: a tenth of a second's, at least one."""
        return min(most, max(1, int(self._rate / 10))) if self._rate else most

    async def wait(self, count: int) -> None:
        """Return when `count` more records may go."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + count / self._rate
