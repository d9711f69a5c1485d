"""The consumer of the events topic for threads, on an event loop of its own."""

import asyncio
from collections.abc import Callable, Collection
from typing import Self

from execstream.client.event_batches import EventBatch, EventReceipt
from execstream.client.event_consumer import MAX_EVENTS, EventConsumer, LoadPositions, Positions
from execstream.storage.redis.buses.threaded import LoopThread


class SyncEventConsumer:
    """`EventConsumer` for one thread: `with SyncEventConsumer() as consumer`, `for batch in …`.

    Arguments are those of EventConsumer; a function that loads positions is called in a thread.
    """

    def __init__(
        self,
        group: str | None = None,
        *,
        positions: Positions | Callable[[Collection[int]], Positions] | None = None,
        max_events: int = MAX_EVENTS,
        kafka_bootstrap: str | None = None,
    ) -> None:
        self._consumer = EventConsumer(
            group,
            positions=_in_thread(positions) if callable(positions) else positions,
            max_events=max_events,
            kafka_bootstrap=kafka_bootstrap,
        )
        self._thread = LoopThread()

    @property
    def receipt(self) -> EventReceipt:
        """The counts so far."""
        return self._consumer.receipt

    def __enter__(self) -> Self:
        try:
            self._thread.run(self._consumer.__aenter__())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._consumer.__aexit__())
        self._thread.stop()

    def next_batch(self, timeout: float | None = None) -> EventBatch | None:
        """The next events of a partition; None after `timeout` seconds without any.

        Raises as EventConsumer.next_batch does.
        """
        return self._thread.run(self._consumer.next_batch(timeout))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventBatch:
        return self._thread.run(self._consumer.__anext__())

    def commit(self, batch: EventBatch) -> None:
        """Store the position after `batch` in Kafka, for the group.

        Raises as EventConsumer.commit does.
        """
        self._thread.run(self._consumer.commit(batch))


def _in_thread(load: Callable[[Collection[int]], Positions]) -> LoadPositions:
    async def loaded(partitions: Collection[int]) -> Positions:
        return await asyncio.to_thread(load, partitions)

    return loaded
