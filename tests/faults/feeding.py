"""Commands at a steady rate, whatever happens to the broker."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from execstream.kafka.producer import BulkProducer
from execstream.streams.errors import Unreachable
from execstream.workload.simulation import Graph, Mix, Sent, simulate

TICK = 0.02  # seconds
MOST_AT_ONCE = 400  # records; after an outage there are many to make up for
LONGEST_TEXT = 240  # characters
ENDLESS = 1_000_000  # runs
RECENT = 500  # records that may be sent again
AGAIN = 0.5  # seconds until the broker is asked again


DIRTY = Mix.dirty()


def small_records(graphs: list[Graph], seed: int, mix: Mix = DIRTY) -> Iterator[Sent]:
    """Simulated commands, with their texts cut: long texts are slow to compare and no other
    case.
    """
    start = datetime.now(UTC)
    for record in simulate(graphs, runs=ENDLESS, seed=seed, start=start, mix=mix):
        yield Sent(record.key, _cut(record.value))


def _cut(value: bytes) -> bytes:
    try:
        return msgspec.json.encode(_short(msgspec.json.decode(value)))
    except msgspec.DecodeError:
        return value  # one of the malformed


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value


class Feeder:
    """Sends `rate` records per second until it is stopped.

    Unacknowledged records may be in the topic or not: the topic itself is the truth.

    Attributes:
        acknowledged: how many records Kafka has confirmed.
        ends: offset after the last confirmed one, by partition.
    """

    def __init__(self, bootstrap: str, topic: str, records: Iterator[Sent], rate: int) -> None:
        self.acknowledged = 0
        self.ends: dict[int, int] = {}
        self._bootstrap = bootstrap
        self._topic = topic
        self._records = records
        self._recent: deque[Sent] = deque(maxlen=RECENT)
        self._rate = rate
        self._stopping = False
        self._feeding: asyncio.Task[None] | None = None
        self._begun = self._sent = 0.0

    def resend(self) -> None:
        """Send the last records once more, as a producer does after a restart."""
        self._records = chain(tuple(self._recent), self._records)

    def begin(self) -> None:
        self._begun = time.monotonic()
        self._feeding = asyncio.create_task(self._feed())

    async def stop(self) -> None:
        """Return when everything taken up so far is acknowledged, or given up."""
        self._stopping = True
        if self._feeding is not None:
            await self._feeding

    async def _feed(self) -> None:
        while not self._stopping:
            try:
                async with BulkProducer(self._bootstrap, self._topic) as producer:
                    await self._feed_through(producer)
            except (KafkaError, Unreachable):
                await asyncio.sleep(AGAIN)

    async def _feed_through(self, producer: BulkProducer) -> None:
        before = self.acknowledged
        while not self._stopping:
            due = int((time.monotonic() - self._begun) * self._rate - self._sent)
            for record in islice(self._records, min(due, MOST_AT_ONCE)):
                self._sent += 1
                self._recent.append(record)
                await producer.add(record.key, record.value)
            try:
                await producer.flush()
            finally:
                self.acknowledged = before + producer.acknowledged
                self.ends |= producer.ends
            await asyncio.sleep(TICK)
