"""The feed as a whole: connections, the reader and its listener, from start to close."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial

import asyncpg
from redis.asyncio import Redis

from execstream.config.settings import Settings
from execstream.dashboard import metrics
from execstream.dashboard.feed.alert_reader import AlertReader
from execstream.dashboard.feed.cursor import Position
from execstream.dashboard.feed.journal_pages import Journal, connect
from execstream.dashboard.feed.listener import Listener
from execstream.dashboard.feed.reader import Reader
from execstream.dashboard.feed.snapshots import Snapshot
from execstream.dashboard.feed.stream import Stream
from execstream.dashboard.quotas import Caller
from execstream.storage.log.reader import Scope


class Feed:
    """Used by one event loop. `texts` is the pool that snapshots are read from.

    Attributes:
        open_streams: their number.
        reading: ends before `close` only by an unexpected error.
    """

    def __init__(
        self,
        settings: Settings,
        db: asyncpg.Pool,
        texts: asyncpg.Pool,
        lines: asyncpg.Pool,
        redis: Redis,
    ) -> None:
        self.open_streams = 0
        self.journal = Journal(lines, settings.topic_prefix)
        self._lines = lines
        self._reader = Reader(self.journal)
        self._listener = Listener(redis, settings.redis_prefix, self._reader.look)
        self._snapshot = partial(Snapshot, texts, settings.topic_prefix)
        self._alerts = AlertReader(db, self._reader)
        self._listener.start()
        self.reading = asyncio.create_task(self._read(), name="feed")

    @classmethod
    async def open(
        cls, settings: Settings, db: asyncpg.Pool, texts: asyncpg.Pool, redis: Redis
    ) -> "Feed":
        """Connect and begin to listen."""
        return cls(settings, db, texts, await connect(settings.postgres, settings.schema_), redis)

    async def _read(self) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._reader.run(self._listener))
            both.create_task(self._alerts.run())

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a stream as open."""
        self.open_streams += 1
        metrics.STREAMS.set(self.open_streams)
        try:
            yield
        finally:
            self.open_streams -= 1
            metrics.STREAMS.set(self.open_streams)

    def frames(self, scope: Scope, after: Position | None, caller: Caller) -> AsyncGenerator[bytes]:
        """A stream of frames; see `Stream`. Its snapshot is a large request of `caller`."""
        snapshot = self._snapshot(scope, caller)
        return Stream(self.journal, self._reader, snapshot, scope, caller).frames(after)

    def end_streams(self) -> None:
        """Have all streams end, so that the server can stop."""
        self._reader.close()

    async def close(self) -> None:
        """Stop reading and listening."""
        self.end_streams()
        self.reading.cancel()
        await asyncio.wait({self.reading})
        await self._listener.stop()
        await self._lines.close()
