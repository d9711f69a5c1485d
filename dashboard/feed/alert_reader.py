"""Alerts on the live feed: each message about one, to every stream of everything.

They have no place in the journal. A stream that was disconnected asks `GET /v1/alerts` for the open
ones.
"""

import asyncio

import asyncpg
import structlog

from execstream.dashboard.feed.reader import Reader
from execstream.storage.alerts.outbox import last_message_id, messages_after
from execstream.storage.connections import AWAY
from execstream.streams.errors import reason_of

POLL = 0.5  # seconds
LOOK_BACK = 2.0  # seconds; a stream that is new may have been there before it was seen

log = structlog.get_logger(__name__)


class AlertReader:
    """Reads messages while there are subscribers."""

    def __init__(self, db: asyncpg.Pool, reader: Reader) -> None:
        self._db = db
        self._reader = reader
        self._last_id: int | None = None  # of the last message; None without subscribers

    async def run(self) -> None:
        """Read for as long as the task lives."""
        while True:
            try:
                await self._read()
            except AWAY as error:
                log.warning("alerts.away", error=reason_of(error))
            await asyncio.sleep(POLL)

    async def _read(self) -> None:
        if not self._reader.is_heard_by_all:
            self._last_id = None
            return
        if self._last_id is None:
            self._last_id = await last_message_id(self._db, LOOK_BACK)
        for message in await messages_after(self._db, self._last_id):
            self._reader.announce("alert", message.json)
            self._last_id = message.id
