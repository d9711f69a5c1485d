"""The feed as a whole: connections, the reader and its listener, from start to close."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import asyncpg
from redis.asyncio import Redis

from execstream.config.settings import Settings
from execstream.config.tasks import end
from execstream.dashboard import metrics
from execstream.dashboard.feed.alert_reader import AlertReader
from execstream.dashboard.feed.cursor import Position
from execstream.dashboard.feed.journal_pages import Journal
from execstream.dashboard.feed.listener import Listener
from execstream.dashboard.feed.reader import Reader
from execstream.dashboard.feed.snapshots import Snapshot
from execstream.dashboard.feed.stream import Stream
from execstream.dashboard.quotas import Caller
from execstream.storage.log.reader import Scope


class Feed:
    """Used by one event loop. `lines` is the pool that its reader reads the log from.

    Attributes:
        open_streams: their number.
        reading: ends before `close` only by an unexpected error.
    """

    def __init__(
        self,
        settings: Settings,
        db: asyncpg.Pool,
        lines: asyncpg.Pool,
        redis: Redis,
    ) -> None:
        self.open_streams = 0
        self._topic_prefix = settings.topic_prefix
        self._reader = Reader(Journal(lines, settings.topic_prefix))
        self._listener = Listener(redis, settings.redis_prefix, self._reader.look)
        self._alerts = AlertReader(db, self._reader)
        self._listener.start()
        self.reading = asyncio.create_task(self._read(), name="feed")

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

    def frames(
        self,
        scope: Scope,
        after: Position | None,
        caller: Caller,
        texts: asyncpg.Pool,
        lines: asyncpg.Pool,
    ) -> AsyncGenerator[bytes]:
        """A stream of frames; see `Stream`. Its snapshot is a large request of `caller`, read from
        `texts`, and missed events from `lines`.
        """
        snapshot = Snapshot(texts, self._topic_prefix, scope, caller)
        journal = Journal(lines, self._topic_prefix)
        return Stream(journal, self._reader, snapshot, scope, caller).frames(after)

    def end_streams(self) -> None:
        """Have all streams end, so that the server can stop."""
        self._reader.close()

    async def close(self) -> None:
        """Stop reading and listening."""
        self.end_streams()
        await end(self.reading)
        await self._listener.stop()
