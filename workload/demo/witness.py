"""A consumer of the events topic, which counts the commands with an event and their delays."""

import asyncio
from collections import defaultdict, deque

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from execstream.config.settings import Settings
from execstream.kafka.producer import BulkProducer
from execstream.kafka.reader import consumer
from execstream.streams.topics import EVENTS
from execstream.workload.demo.observer import Offsets

POLL = 50  # milliseconds

Source = tuple[int, int, int]


class _Event(msgspec.Struct):
    source: Source


_decode = msgspec.json.Decoder(_Event).decode


class Witness:
    """Drops events that are not above the last source of their partition, as any consumer must.

    Attributes:
        seen: the number of commands with an event, those of other producers among them.
        worst_delay: seconds from Kafka's confirmation of a command until its first event was read,
            the greatest of all; to some 50 ms.
    """

    def __init__(self, first: Offsets, bases: Offsets) -> None:
        """`first`: offsets of the first commands to count; `bases`: of sources, by partition."""
        self.seen = 0
        self.worst_delay = 0.0
        self._bases = bases
        # Source offset of the last command with an event.
        self._last = {part: offset + bases.get(part, 0) - 1 for part, offset in first.items()}
        self._read: dict[int, int] = {}  # ends of the events that were read
        # Ends of the confirmed commands, and the loop's time at which each was noticed.
        self._confirmed: defaultdict[int, deque[tuple[int, float]]] = defaultdict(deque)

    async def watch(self, settings: Settings, begins: Offsets, producer: BulkProducer) -> None:
        """Read the events topic from `begins` on, until cancelled; `producer`: of the commands."""
        topic = settings.topic_prefix + EVENTS.name
        async with consumer(settings.kafka) as reader:
            reader.assign([TopicPartition(topic, partition) for partition in begins])
            for partition, offset in begins.items():
                reader.seek(TopicPartition(topic, partition), offset)
            while True:
                found = await reader.getmany(timeout_ms=POLL)
                self._note_confirmed(producer.ends)
                for place, records in found.items():
                    self._see(place.partition, records)

    def has_read(self, ends: Offsets) -> bool:
        """Return whether all events below `ends` were read."""
        return all(self._read.get(partition, 0) >= end for partition, end in ends.items() if end)

    def _note_confirmed(self, ends: Offsets) -> None:
        now = asyncio.get_running_loop().time()
        for partition, end in ends.items():
            noted = self._confirmed[partition]
            if not noted or noted[-1][0] < end:
                noted.append((end, now))

    def _see(self, partition: int, records: list[ConsumerRecord]) -> None:
        self._read[partition] = records[-1].offset + 1
        now = asyncio.get_running_loop().time()
        noted, base = self._confirmed[partition], self._bases.get(partition, 0)
        for record in records:
            offset = _decode(record.value).source[1]
            if offset <= self._last.get(partition, -1):
                continue  # a repeat, or one more event of the same command
            self._last[partition] = offset
            self.seen += 1
            while noted and noted[0][0] <= offset - base:
                noted.popleft()
            if noted:
                self.worst_delay = max(self.worst_delay, now - noted[0][1])
