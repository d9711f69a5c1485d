"""Forwarding of events to Redis: messages in order, none left out that has a subscriber.

A message and the position after it are one step in Redis. While Redis or Postgres is unavailable,
the same step is retried for as long as the partitions are ours. A message is made only for a run
with a subscriber to its channel. Redis is asked after the batch was fetched, so a client that
subscribed before an event was committed receives its message.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from typing import TypeVar, cast

import structlog
from msgspec import UNSET

from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import Batch, PartitionBatch
from execstream.agents.runtime.retries import retrying, tolerating
from execstream.storage.connections import Session
from execstream.storage.log.run_history import load_interface_blocks
from execstream.storage.redis.messages.run_views import RunViews
from execstream.storage.redis.messages.view_loading import recall
from execstream.storage.redis.positions import Publication, RedisPosition, RedisPositions
from execstream.storage.redis.subscriptions import Subscriptions
from execstream.storage.unreadable_rows import UnreadableRun, note, reading
from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import Event, Source, decode_event

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

MOST_BYTES = 4 * 1024 * 1024  # of messages that are published in one step; one more may be over
MOST_MESSAGES = 1_000
BLOCKS_AGE = 2.0  # seconds until the kinds of blocks are looked up again


class NotOurs(Exception):
    """A partition of the batch was taken away; its new owner goes on."""


class Step:
    """Publications of several partitions that go out together."""

    def __init__(self) -> None:
        self.parts: dict[int, Publication] = {}
        self._bytes = self._messages = 0

    def move(self, partition: int, place: RedisPosition) -> Publication:
        """Be at `place` after this step."""
        part = self.parts.get(partition)
        if part is None:
            part = self.parts[partition] = Publication(partition, place)
        part.place = place
        return part

    def add(self, part: Publication, channel: str, message: bytes) -> None:
        """Publish the message of the event before the place of `part`."""
        part.messages.append((part.place.next_offset - 1, channel, message))
        self._bytes += len(message)
        self._messages += 1

    @property
    def is_full(self) -> bool:
        """Return whether it should go out before more is added."""
        return self._bytes >= MOST_BYTES or self._messages >= MOST_MESSAGES


class Forwarder:
    """The work of the bridge, with its state between batches. `owns` checks whether a batch is
    still ours.
    """

    def __init__(
        self,
        views: RunViews,
        positions: RedisPositions,
        subscriptions: Subscriptions,
        session: Session,
        owns: Callable[[Batch], bool],
    ) -> None:
        self._views = views
        self._positions = positions
        self._subscriptions = subscriptions
        self._session = session
        self._owns = owns
        self._sources: dict[int, Source | None] = {}
        self._blocks_known_at = float("-inf")

    def begin(self, sources: Mapping[int, Source | None]) -> None:
        """Partitions were claimed; their last published sources, as far as Redis knows them."""
        self._sources = dict(sources)

    async def forward(self, batch: Batch) -> None:
        """Publish the messages of `batch`.

        Raises:
            NotOurs: a partition was taken away meanwhile; a part may have been published.
        """
        outbound = [(part.owned.number, list(self._unpublished(part))) for part in batch]
        events = [event for _, entries in outbound for _, event in entries if event is not None]
        heard = await self._heard(batch, events)
        unreadable: set[str] = set()
        if heard:
            await self._refresh_blocks()
            heard_events = [event for event in events if event.graph_exec_id in heard]
            unreadable |= await self._recall(batch, heard_events)
        step = Step()
        for partition, entries in outbound:
            for place, event in entries:
                part = step.move(partition, place)
                message = None
                if event is not None and event.graph_exec_id in heard:
                    message = await self._message(batch, event, unreadable)
                if message is not None:
                    step.add(part, *message)
                elif event is not None:
                    part.unheard.append(place.next_offset - 1)
                if step.is_full:
                    await self._publish(batch, step)
                    step = Step()
        if step.parts:
            await self._publish(batch, step)
        self._views.trim()

    def _unpublished(self, part: PartitionBatch) -> Iterator[tuple[RedisPosition, Event | None]]:
        """Yield for each record the position after it, and the event if it is to be published.

        Refusals, key-values, imported events and those published before are not published.
        """
        last = self._sources.get(part.owned.number)
        for record in part.records:
            event = _understood(record)
            if event is not None and (last is None or event.source > last):
                last = event.source
            else:
                event = None
            is_news = event is not None and event.seq is not UNSET and not event.imported
            yield RedisPosition(record.offset + 1, last), event if is_news else None

    async def _message(
        self, batch: Batch, event: Event, unreadable: set[str]
    ) -> tuple[str, bytes] | None:
        """The message of `event`; None for a run that cannot be read, which `unreadable` keeps."""
        run_id = event.graph_exec_id
        if self._views.lacks(event) and run_id not in unreadable:
            # Entries are missing where a run was erased meanwhile.
            unreadable |= await self._recall(batch, [event])
        try:
            with reading(run_id):
                return None if run_id in unreadable else self._views.message_for(event)
        except UnreadableRun as error:
            note(error)
            unreadable.add(error.graph_exec_id)
            return None

    # ---- access to Postgres or Redis -------------------------------------------------------

    async def _heard(self, batch: Batch, events: Sequence[Event]) -> Set[str]:
        """The ids of those runs of `events` that may have a subscriber."""
        runs = {self._views.channel_of(event): cast(str, event.graph_exec_id) for event in events}
        channels = await self._insist(
            "subscriptions", batch, lambda: self._subscriptions.heard(runs)
        )
        return {runs[channel] for channel in channels}

    async def _publish(self, batch: Batch, step: Step) -> None:
        parts = list(step.parts.values())
        await self._insist("publish", batch, lambda: self._positions.publish(parts))
        self._sources |= {part.partition: part.place.source for part in parts}

    async def _recall(self, batch: Batch, events: Sequence[Event]) -> set[str]:
        """Load the past of `events`, for runs with a missing or older view; return the runs that
        cannot be read.
        """
        missing = self._views.missing(events)
        return await self._insist("recall", batch, lambda: self._replay(missing))

    async def _replay(self, missing: Mapping[str, Event]) -> set[str]:
        if not missing:
            return set()
        return await recall(await self._session.get(), self._views, missing)

    async def _refresh_blocks(self) -> None:
        """Look the kinds of blocks up again; the old ones stay while Postgres is unavailable."""
        if time.monotonic() - self._blocks_known_at < BLOCKS_AGE:
            return
        self._blocks_known_at = time.monotonic()
        with tolerating("blocks", self._session):
            self._views.block_types = await load_interface_blocks(await self._session.get())

    async def _insist(
        self, what: str, batch: Batch, attempt: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Make `attempt` until it works; NotOurs when `batch` is not ours any more."""

        async def attempt_if_owned() -> Answer:
            if not self._owns(batch):
                raise NotOurs
            return await attempt()

        return await retrying(what, attempt_if_owned, self._session)


def _understood(record: Record) -> Event | None:
    """The event of `record`; None, and an error in the log, for a record that no worker of ours
    wrote.
    """
    try:
        return decode_event(record.value or b"")
    except NOT_READABLE as error:
        place = {"partition": record.partition, "offset": record.offset}
        log.error("not_an_event", **place, error=str(error))
        return None
