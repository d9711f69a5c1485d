"""The one reader: whatever is new goes to every stream it concerns.

Reads Postgres when Redis announces an event, and now and then without an announcement: Redis may be
unavailable, and announces neither refusals nor key-values. Without subscribers it rests.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from execstream.dashboard import metrics
from execstream.dashboard.feed.cursor import Position, covers, encode
from execstream.dashboard.feed.frames import frame
from execstream.dashboard.feed.journal_pages import Journal, Page
from execstream.dashboard.feed.listener import Listener
from execstream.dashboard.feed.scopes import scopes_of
from execstream.dashboard.feed.subscribers import Batch, Closed, Subscriber
from execstream.storage.connections import AWAY
from execstream.storage.log.events import EventBuilder
from execstream.storage.log.reader import Scope
from execstream.storage.unreadable_rows import note
from execstream.streams.errors import reason_of

GATHER = 0.025  # seconds between two looks at Postgres, so that events come in batches
POLL = 1.0  # seconds until a look without an announcement
POLL_WITHOUT_REDIS = 0.25  # seconds

log = structlog.get_logger(__name__)


class Reader:
    """Delivers new events to attached subscribers.

    Attributes:
        position: everything up to there was delivered to the subscribers of its scope.
    """

    def __init__(self, journal: Journal) -> None:
        self.position: Position = {}
        self._journal = journal
        self._event_builder = EventBuilder(note)
        self._subscribers: defaultdict[Scope, set[Subscriber]] = defaultdict(set)
        self._look = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def look(self) -> None:
        """Something may have happened."""
        if self._subscribers or self._waiting:
            self._look.set()

    async def run(self, listener: Listener) -> None:
        """Read for as long as the task lives."""
        while True:
            with suppress(TimeoutError):
                patience = POLL if listener.is_listening else POLL_WITHOUT_REDIS
                await asyncio.wait_for(self._look.wait(), patience if self._subscribers else None)
            self._look.clear()
            before = self.position
            await self._read()
            if self.position != before:
                # More will come soon, perhaps sooner than Redis can announce it.
                self.look()
            await asyncio.sleep(GATHER)

    # ---- for streams -----------------------------------------------------------------------

    async def now(self) -> Position:
        """The position after the events delivered now, brought up to date if it rested."""
        if not self._subscribers:
            await self._has_read()
        return self.position

    async def reaches(self, position: Position) -> bool:
        """Return when it is at or beyond `position`; False when nothing has happened there."""
        if not (self._subscribers and covers(self.position, position)):
            await self._has_read()
        return covers(self.position, position)

    @contextmanager
    def attached(self, scope: Scope) -> Iterator[Subscriber]:
        """Yield a subscriber that receives all in `scope` beyond its position."""
        subscriber = Subscriber(self.position)
        self._subscribers[scope].add(subscriber)
        self.look()
        try:
            yield subscriber
        finally:
            self._detach(scope, subscriber)

    @property
    def is_heard_by_all(self) -> bool:
        """Return whether a stream of everything is attached."""
        return Scope() in self._subscribers

    def announce(self, kind: str, data: bytes) -> None:
        """Put another frame than an event to the streams of everything; it moves no position."""
        made = frame(kind, encode(self.position), data)
        for subscriber in list(self._subscribers.get(Scope(), ())):
            if not subscriber.put(Batch(made, self.position)):
                self._detach(Scope(), subscriber)

    def close(self) -> None:
        """Have all streams end."""
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.end(Closed)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(Closed())

    # ---- reading ---------------------------------------------------------------------------

    async def _has_read(self) -> None:
        """Return after a read that began later than this call; raises the errors of that read."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self.look()
        await done

    async def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            await self._catch_up()
        except AWAY as error:
            log.warning("postgres.away", error=reason_of(error))
            for one in waiting:
                if not one.done():
                    one.set_exception(error)
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _catch_up(self) -> None:
        if not self._subscribers:
            committed = await self._journal.committed()
            if not self._subscribers:  # a subscriber may have come meanwhile
                self.position = committed
                return
        is_last = False
        while not is_last:
            page = await self._journal.read_after(self.position, self._event_builder)
            self._deliver(page)
            is_last = page.is_last

    def _deliver(self, page: Page) -> None:
        """Put the page to subscribers and move on, with no await between."""
        frames: defaultdict[Scope, list[bytes]] = defaultdict(list)
        for stored in page.events:
            concerned = [scope for scope in scopes_of(stored.event) if scope in self._subscribers]
            if concerned:
                made = frame("event", stored.cursor, stored.json)
                for scope in concerned:
                    json = stored.json_for(scope)
                    is_whole = json is stored.json  # which all of them share
                    frames[scope].append(made if is_whole else frame("event", stored.cursor, json))
        metrics.EVENTS.inc(len(page.events))
        self.position = page.position
        for scope, parts in frames.items():
            batch = Batch(b"".join(parts), page.position)
            for subscriber in list(self._subscribers[scope]):
                if not subscriber.put(batch):
                    self._detach(scope, subscriber)

    def _detach(self, scope: Scope, subscriber: Subscriber) -> None:
        subscribers = self._subscribers.get(scope, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(scope, None)
