"""No more than so many a second."""

import asyncio


class Pace:
    """Lets `rate` things go per second; 0: as fast as it goes. Used within one event loop."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0.0  # the loop's time at which the next may go

    def burst(self, most: int) -> int:
        """How many may go at once: a tenth of a second's, and at least one."""
        return min(most, max(1, int(self._rate / 10))) if self._rate else most

    async def wait(self, count: int) -> None:
        """Return when `count` more may go."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + count / self._rate
