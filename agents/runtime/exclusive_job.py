"""Periodic work on Postgres that never overlaps with itself."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from execstream.agents.runtime.retries import tolerating
from execstream.config.settings import Settings
from execstream.storage.connections import Session


class ExclusiveJob:
    """Work on a connection of its own, one at a time; a transient failure ends the turn."""

    def __init__(self, settings: Settings) -> None:
        self._session = Session(settings.postgres, settings.schema_)
        self._turn = asyncio.Lock()

    async def take(self, what: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        async with self._turn:
            with tolerating(what, self._session):
                await work(await self._session.get())

    async def close(self) -> None:
        async with self._turn:
            await self._session.close()
