"""The catalogue, put back from an archive on a topic that was made again.

Commands are not put back: a replay reads them from the archive, and a worker would give them new
sources.
"""

from aiokafka import TopicPartition

from execstream.kafka.header_decoding import records_in
from execstream.kafka.producer import BulkProducer
from execstream.kafka.reader import consumer, extent, records
from execstream.recovery.archive.folder import Archive
from execstream.streams.errors import Fatal


class NotEmpty(Fatal):
    """The topic has records of its own."""


async def restore_catalogue(archive: Archive, bootstrap: str, topic: str) -> int:
    """Put the newest record of each key on `topic`, the catalogue; return their number.

    After an interruption it continues. Raises NotEmpty when the topic has other records, which a
    restored one could replace by older ones.
    """
    newest = _newest_records(archive, topic)
    there = await _records_of(bootstrap, topic)
    if there != newest[: len(there)]:
        raise NotEmpty(
            f"{topic} has records of its own: nothing is put behind them. Have the owners of the "
            "catalogue send the rest."
        )
    async with BulkProducer(bootstrap, topic) as producer:
        for key, value in newest[len(there) :]:
            await producer.add(key, value, partition=0)
    return len(newest) - len(there)


def _newest_records(archive: Archive, topic: str) -> list[tuple[bytes | None, bytes]]:
    """Key and value of each key's newest record that has a value, in order."""
    found: dict[bytes | None, bytes | None] = {}
    for number, part in archive.partitions(topic).items():
        for facts, batches in part.read(0):
            begin = facts.begin - facts.identity.base
            for record in records_in(TopicPartition(topic, number), batches, begin):
                found.pop(record.key, None)
                found[record.key] = record.value
    return [(key, value) for key, value in found.items() if value is not None]


async def _records_of(bootstrap: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    async with consumer(bootstrap) as reader:
        held = await extent(reader, topic)
        return [
            (record.key, record.value)
            for number, first in held.first.items()
            async for some in records(reader, topic, number, first, held.end[number])
            for record in some
        ]
