"""Quotas of tokens: requests per second, and answers or bodies of any size at once.

A token that asks for more than its part is refused, so that the others need not wait. A server
without tokens has one quota for all requests, and so have the links of shared runs. Where others
wait, a client that does not take its answer loses its place to them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Protocol

from execstream.dashboard.problems import ProblemError
from execstream.storage.access.http_tokens import HttpToken

MAX_LARGE = 8  # of all tokens at once; each may hold a value of the largest size in memory
LARGE_WITHIN = 5.0  # seconds to wait for one of them to end
STALLED_AFTER = 1.0  # seconds without progress, after which a client gives way to others
LOOK_EVERY = 0.2  # seconds


class Client(Protocol):
    """The connection that a request came by."""

    @property
    def waits_since(self) -> float | None:
        """The loop's time since when the server waits for the client; None: it does not."""

    def give_way(self) -> None:
        """End the request, since others wait for its place."""

    def cut(self) -> None:
        """End the connection at once."""


class Places:
    """Places for large requests. Where all are taken and a request waits for one, the client that
    has stalled for longest, STALLED_AFTER seconds or more, gives way.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._holders: list[Client] = []

    @property
    def are_taken(self) -> bool:
        """Return whether the next one has to wait."""
        return self._free.locked()

    @asynccontextmanager
    async def held(self, client: Client) -> AsyncIterator[None]:
        """Hold a place; wait for it as long as it takes."""
        with self._making_room():
            await self._free.acquire()
        self._holders.append(client)
        try:
            yield
        finally:
            self._holders.remove(client)
            self._free.release()

    @contextmanager
    def _making_room(self) -> Iterator[None]:
        making = asyncio.create_task(self._make_room())
        try:
            yield
        finally:
            making.cancel()

    async def _make_room(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            waits = ((client.waits_since, client) for client in self._holders)
            stalled = {since: client for since, client in waits if since is not None}
            if self.are_taken and stalled and min(stalled) <= loop.time() - STALLED_AFTER:
                stalled[min(stalled)].give_way()
            await asyncio.sleep(LOOK_EVERY)


class Quota:
    """The quota of one token."""

    def __init__(
        self,
        rate: float,
        large: int,
        all_large: Places,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate`: requests per second, of which one second's may come together; `large`: requests
        with a large answer or body at once, of the token; `all_large`: of all tokens."""
        self._rate = rate
        self._clock = clock
        self._at = clock()
        self._burst = self._left = max(1.0, rate)  # requests that may come together
        self._limit = large
        self._large = Places(large)
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
    async def large(self, client: Client, within: float | None = None) -> AsyncIterator[None]:
        """Hold one of the large requests; wait for it `within` seconds, or LARGE_WITHIN.

        Raises ProblemError 429 or 503 where none ends in time.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(within or LARGE_WITHIN):
                    await held.enter_async_context(self._large.held(client))
                    await held.enter_async_context(self._all_large.held(client))
            except TimeoutError:
                if self._large.are_taken:
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


@dataclass(frozen=True, slots=True)
class Caller:
    """A client, with the quota of its token."""

    quota: Quota
    client: Client

    def use(self) -> None:
        """Count a request. Raises ProblemError 429 when it is one too many."""
        self.quota.use()

    def large(self, within: float | None = None) -> AbstractAsyncContextManager[None]:
        """Hold one of the large requests, as `Quota.large`."""
        return self.quota.large(self.client, within)


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
        self._all_large = Places(MAX_LARGE)
        self._quotas: dict[HttpToken | None, Quota] = {}

    def of(self, token: HttpToken | None) -> Quota:
        """The quota of a token that the server knows."""
        if token not in self._quotas:
            self._quotas[token] = Quota(self._rate, self._per_token, self._all_large)
        return self._quotas[token]
