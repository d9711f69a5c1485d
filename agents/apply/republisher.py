"""Republish events that earlier owners of a partition committed and may not have published.

The last event in the partition of the events topic shows the end of publishing, and the stored
position does where that topic has been emptied. Republishing is never given up half way: new events
of the assignment wait for it, because a later event must not overtake an earlier one. Reading is
tried again, publishing is not: a send that fails ends the process.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from execstream.agents.apply.dead_letters import dead_letter
from execstream.agents.apply.publisher import OutboundRecord, OutboundRecords, Publisher
from execstream.agents.runtime.metrics import REPUBLISHED
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.agents.runtime.retries import retrying
from execstream.kafka.last_records import last_values
from execstream.storage.connections import Session
from execstream.storage.log.dead_letters import DeadLetterRecord, dead_letters_after
from execstream.storage.log.events import EventPage, events_after
from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import NOWHERE, decode_event

log = structlog.get_logger(__name__)

Read = TypeVar("Read")


class Republisher:
    def __init__(self, bootstrap: str, events: str, session: Session, publisher: Publisher) -> None:
        self._bootstrap = bootstrap
        self._events = events
        self._session = session
        self._publisher = publisher

    def republish(
        self, owned: Sequence[AssignedPartition], before: Awaitable[Any] | None
    ) -> Coroutine[Any, Any, None]:
        """Publish the missing events of `owned`, after the republishing `before` is through, and
        all that this process was given to publish until this call is acknowledged: an event of it
        that came between two republished ones would hide the second from the next owner.
        """
        claimed = {part: part.done for part in owned}
        return self._republish(claimed, before, self._publisher.added)

    async def _republish(
        self, claimed: dict[AssignedPartition, int], before: Awaitable[Any] | None, added: int
    ) -> None:
        if before is not None:
            await before
        await self._publisher.acknowledged(added)
        published = await self._read(self._last_published, [part.number for part in claimed])
        for part, until in claimed.items():
            after = max(published[part.number], part.published)
            await self._republish_one(part, after, until)

    async def _republish_one(
        self, part: AssignedPartition, after: tuple[int, int], until: int
    ) -> None:
        """Publish page by page, events and dead letters of a page together: an acknowledgement
        moves the position, which must not pass records that are still to be published.
        """
        dead = await self._read(self._dead_letters, part, until)
        letters = deque(dead_letter(record, record.dead, part.base) for record in dead)
        count = 0
        page = await self._read(self._page, part, after, until)
        while page.last is not None:
            count, after = count + len(page.events), page.last
            outbound = OutboundRecords(
                part, [OutboundRecord(one.place, one.key, one.value) for one in page.events]
            )
            while letters and letters[0].place < after:
                outbound.dead_letters.append(letters.popleft())
            await self._publisher.publish([outbound])
            page = await self._read(self._page, part, after, until)
        if letters:
            await self._publisher.publish([OutboundRecords(part, dead_letters=list(letters))])
        part.published = max(part.published, after)
        REPUBLISHED.inc(count)
        if count or dead:
            log.info("republished", partition=part.number, events=count, dead=len(dead))

    async def _read(self, read: Callable[..., Awaitable[Read]], *about: Any) -> Read:
        """Return the result of `read`, retried until it works."""
        return await retrying("republish", partial(read, *about), self._session)

    async def _dead_letters(self, part: AssignedPartition, until: int) -> list[DeadLetterRecord]:
        after = part.published[0] - part.base
        connection = await self._session.get()
        return await dead_letters_after(connection, part.tp.topic, part.number, after, until)

    async def _page(self, part: AssignedPartition, after: tuple[int, int], until: int) -> EventPage:
        connection = await self._session.get()
        return await events_after(connection, part.number, after, until + part.base)

    async def _last_published(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The source of the last event in each partition of the events topic."""
        values = await last_values(self._bootstrap, self._events, partitions)
        published = {number: _place(number, value) for number, value in values.items()}
        return dict.fromkeys(partitions, NOWHERE) | published


def _place(partition: int, value: bytes | None) -> tuple[int, int]:
    """Return the source of the event `value`, the last one of `partition`. NOWHERE when no worker
    of ours wrote it: then only the stored position is known.
    """
    try:
        number, *place = decode_event(value or b"").source
        if number == partition:
            return place[0], place[1]
        found = f"an event of partition {number}"
    except NOT_READABLE as error:
        found = str(error)
    log.error("not_an_event", partition=partition, error=found)
    return NOWHERE
