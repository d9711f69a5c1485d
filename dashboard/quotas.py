"""Quotas of tokens: requests per second, and answers or bodies of any size at once.

A token that asks for more than its part is refused, so that the others need not wait. A server
without tokens has one quota for all requests, and so have the links of shared runs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from math import ceil

from execstream.dashboard.problems import ProblemError

MAX_LARGE = 8  # of all tokens at once; each may hold a value of the largest size in memory
LARGE_WITHIN = 5.0  # seconds to wait for one of them to end


class Quota:
    """The quota of one token."""

    def __init__(
        self,
        rate: float,
        large: int,
        all_large: asyncio.Semaphore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate`: requests per second, of which one second's may come together; `large`: requests
        with a large answer or body at once, of the token; `all_large`: of all tokens."""
        self._rate = rate
        self._clock = clock
        self._at = clock()
        self._burst = self._left = max(1.0, rate)  # requests that may come together
        self._limit = large
        self._large = asyncio.Semaphore(large)
        self._all_large = all_large

    def use(self) -> None:
        """Count a request. Raises ProblemError 429 when it is one too many."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            wait = ceil((1 - self._left) / self._rate)
            raise _too_many(f"This token may send {self._rate:g} requests per second", wait)
        self._left -= 1

    @asynccontextmanager
    async def large(self, within: float | None = None) -> AsyncIterator[None]:
        """Hold one of the large requests; wait for it `within` seconds, or LARGE_WITHIN.

        Raises ProblemError 429 or 503 where none ends in time.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(within or LARGE_WITHIN):
                    await held.enter_async_context(self._large)
                    await held.enter_async_context(self._all_large)
            except TimeoutError:
                if self._large.locked():
                    raise _too_many(
                        f"This token may have {self._limit} requests with large answers or bodies "
                        "at once",
                        ceil(LARGE_WITHIN),
                    ) from None
                raise ProblemError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"The server sends {MAX_LARGE} large answers already: try again.",
                    _retry_after(ceil(LARGE_WITHIN)),
                ) from None
            yield


def _too_many(rule: str, wait: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.TOO_MANY_REQUESTS, f"{rule}: try again in {wait} s.", _retry_after(wait)
    )


def _retry_after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


class Quotas:
    """The quotas of a server, by token; None is that of requests without one."""

    def __init__(self, rate: float, large: int) -> None:
        self._rate = rate
        self._per_token = large
        self._all_large = asyncio.Semaphore(MAX_LARGE)
        self._quotas: dict[str | None, Quota] = {}

    def of(self, token: str | None) -> Quota:
        """The quota of a token that the server knows."""
        if token not in self._quotas:
            self._quotas[token] = Quota(self._rate, self._per_token, self._all_large)
        return self._quotas[token]
