"""Sending of simulated commands at a rate, and of the names in their catalogue."""

import asyncio
from collections.abc import Iterable
from itertools import islice

import msgspec

from execstream.config.settings import Settings
from execstream.kafka.producer import BulkProducer
from execstream.streams.topics import CATALOGUE
from execstream.workload.simulation import Graph, Sent, catalogue

TICK = 0.02  # seconds between bursts


async def send_paced(producer: BulkProducer, records: Iterable[Sent], rate: float) -> None:
    """Send the records, `rate` of them per second, or as fast as it goes when that is 0.

    A hold-up is made up for afterwards. Returns when Kafka has all of them.
    """
    if not rate:
        for record in records:
            await producer.add(*record)
        await producer.flush()
        return
    loop = asyncio.get_running_loop()
    begun, already = loop.time(), producer.sent
    left = iter(records)
    while True:
        due = int((loop.time() - begun) * rate) + 1 - (producer.sent - already)
        burst = list(islice(left, due))
        for record in burst:
            await producer.add(*record)
        await producer.flush()
        if len(burst) < due:
            return
        await asyncio.sleep(TICK)


async def send_catalogue(settings: Settings, graphs: Iterable[Graph]) -> dict[int, int]:
    """Send names and kinds of the blocks and graphs; return the ends of the catalogue then."""
    topic = settings.topic_prefix + CATALOGUE.name
    async with BulkProducer(settings.kafka, topic) as producer:
        for key, value in catalogue(graphs):
            await producer.add(key.encode(), msgspec.json.encode(value))
    return producer.ends
