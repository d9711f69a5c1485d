"""Yielding to the live side: where cores are short while it applies commands, the processes of a
rebuild take turns, and rest after each.

Their niceness does not apply to Postgres' work for them. On two cores, two of them at once made the
live side wait four times as long (docs/architecture.md).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from execstream.agents.runtime.retries import tolerating
from execstream.config.settings import Settings
from execstream.recovery.replay.live_schema import LivePosition, live_places
from execstream.storage.connections import NO_TIMEOUT, Session

REST = 2.0  # times as long as the turn took
SMALL = 2_000  # most records in a turn after one that gave way
SHORT = 0.1  # of the time in which this process could have run, it had no core
SCHEDSTAT = Path("/proc/self/schedstat")

_WAIT = "select pg_advisory_lock(hashtext($1))"
_END = "select pg_advisory_unlock_all()"


class Cores:
    """Scarcity of cores. Linux has in the file `schedstat` how long a process ran, and how long it
    waited for a core; elsewhere cores count as scarce."""

    def __init__(self, schedstat: Path = SCHEDSTAT) -> None:
        self._schedstat = schedstat
        self._ran, self._waited = self._read()

    def are_short(self) -> bool:
        """The answer covers the time since the last call."""
        ran, waited = self._read()
        more, longer = ran - self._ran, waited - self._waited
        self._ran, self._waited = ran, waited
        return not self._schedstat.exists() or longer > SHORT * (more + longer)

    def _read(self) -> tuple[int, int]:
        """Nanoseconds."""
        if not self._schedstat.exists():
            return 0, 0
        ran, waited, _ = self._schedstat.read_text().split()
        return int(ran), int(waited)


class Throttle:
    """One process's turns in rebuilding `schema`. `topic`: of the commands that the live
    schema applies."""

    def __init__(self, settings: Settings, schema: str, topic: str, cores: Cores) -> None:
        self._name = f"execstream.replay {schema}"
        self._live, self._topic = settings.schema_, topic
        self._session = Session(settings.postgres, schema)
        self._places: Mapping[int, LivePosition] = {}
        self._cores = cores
        self._gave_way = False

    async def close(self) -> None:
        await self._session.close()

    def limit(self, records: int) -> int:
        """Return how many of `records` the next turn may take."""
        return min(records, SMALL) if self._gave_way else records

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn: exclusive, and with a rest after it, if it has to yield to live workers."""
        self._gave_way = False
        with tolerating("turn", self._session):  # one that Postgres cannot give is not waited for
            self._gave_way = await self._begin(await self._session.get())
        begun = time.monotonic()
        try:
            yield
            if self._gave_way:
                await asyncio.sleep(REST * (time.monotonic() - begun))
        finally:
            if self._gave_way:
                with tolerating("turn", self._session):
                    await (await self._session.get()).execute(_END)

    async def _begin(self, connection: asyncpg.Connection) -> bool:
        before, self._places = self._places, await live_places(connection, self._live, self._topic)
        gives_way = bool(before) and before != self._places and self._cores.are_short()
        if gives_way:
            await connection.execute(_WAIT, self._name, timeout=NO_TIMEOUT)
        return gives_way
