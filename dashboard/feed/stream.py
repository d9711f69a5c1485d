"""One stream: a snapshot, then every event after it once, whatever comes between.

A stream always knows its position. It reads the journal up to the reader's position, receives
events from the reader from there on, and goes back to the journal when it was too slow.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

import structlog

from execstream.dashboard import metrics
from execstream.dashboard.feed import frames
from execstream.dashboard.feed.cursor import Position, encode
from execstream.dashboard.feed.journal_pages import Journal
from execstream.dashboard.feed.reader import Reader
from execstream.dashboard.feed.scopes import shows
from execstream.dashboard.feed.snapshots import LARGE_WITHIN, Snapshot
from execstream.dashboard.feed.subscribers import Closed, Overtaken, Subscriber
from execstream.dashboard.problems import ProblemError
from execstream.dashboard.quotas import Caller
from execstream.storage.connections import AWAY
from execstream.storage.log.reader import Scope
from execstream.streams.errors import reason_of

HEARTBEAT = 15.0  # seconds of silence

log = structlog.get_logger(__name__)


class Stream:
    """The frames of one stream."""

    def __init__(
        self, journal: Journal, reader: Reader, snapshot: Snapshot, scope: Scope, caller: Caller
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._snapshot = snapshot
        self._scope = scope
        self._caller = caller
        self._position: Position = {}

    async def frames(self, after: Position | None) -> AsyncGenerator[bytes]:
        """All that happens after a position, or a snapshot and all that happens after that.

        Ends when the feed is closed or Postgres is unavailable: the browser comes back.
        """
        try:
            async for part in self._begin(after):
                yield part
            while True:
                async with aclosing(self._go_on()) as parts:
                    async for part in parts:
                        yield part
                metrics.RESYNCS.inc()
                yield frames.resync(encode(self._position), "slow")
        except Closed:
            pass  # the server stops
        except (*AWAY, ProblemError) as error:
            log.warning("stream.ended", error=reason_of(error))

    async def _begin(self, after: Position | None) -> AsyncIterator[bytes]:
        begin = frames.RETRY
        if after is not None and await self._reader.reaches(after):
            self._position = after
            yield begin
            return
        if after is not None:
            begin += frames.resync(encode(after), "unknown_cursor")
        if self._scope.graph_exec_id is None:
            yield begin
            begin = b""
        # An error of the only run becomes the answer, as long as nothing was sent.
        async for part in self._snapshot.frame():
            yield begin + part
            begin = b""
        self._position = self._snapshot.position
        await self._reader.reaches(self._position)

    async def _go_on(self) -> AsyncGenerator[bytes]:
        """Catch up, then follow the reader; ends when it has overtaken us."""
        async for part in self._catch_up():
            yield part
        with self._reader.attached(self._scope) as subscriber:
            # Events committed after this point arrive through the subscription.
            async for part in self._read(subscriber.position):
                yield part
            with suppress(Overtaken):
                while True:
                    yield await self._next(subscriber)

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """Read the journal until no more than a page is missing."""
        pages = 2
        while pages > 1:
            pages = 0
            async for part in self._read(await self._reader.now()):
                pages += 1
                yield part

    async def _read(self, until: Position) -> AsyncIterator[bytes]:
        pages = self._journal.pages(self._scope, self._position, until)
        while True:
            # A page may be megabytes, and is in memory until it is sent.
            async with self._caller.large(LARGE_WITHIN):
                page = await anext(pages, None)
                if page is None:
                    return
                self._position = page.position
                shown = [sent for sent in page.events if shows(self._scope, sent.event)]
                page.events.clear()  # no second copy while the reader takes its time
                if shown:
                    told = b"".join(
                        frames.frame("event", sent.cursor, sent.json_for(self._scope))
                        for sent in shown
                    )
                    shown.clear()
                    yield told
                else:
                    yield frames.heartbeat(encode(page.position))

    async def _next(self, subscriber: Subscriber) -> bytes:
        taken = await subscriber.take(HEARTBEAT)
        if taken:
            self._position = subscriber.position
            return taken
        # Whatever there was in our scope up to the reader's position has been taken.
        self._position = self._reader.position
        return frames.heartbeat(encode(self._position))
