"""The very record of a command, and the times it was sent again, while the topic keeps them."""

import asyncio
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from execstream.kafka import header_decoding
from execstream.kafka.security import client_options
from execstream.storage.story.evidence import RecordPosition
from execstream.streams.errors import NOT_READABLE

LOOK_AHEAD = 100_000  # records after the first one, in which repeats are looked for
PATIENCE = 10.0  # seconds
_POLL = 300  # milliseconds


class Sent(NamedTuple):
    """`value` is None when the topic no longer keeps the record. `looked` records after it were
    searched for the same command."""

    value: bytes | None
    again: list[RecordPosition]
    looked: int


async def find_record(bootstrap: str, topic: str, place: RecordPosition, command_id: str) -> Sent:
    """The record at `place`, and where the same command came again under the same key."""
    partition, offset = place
    tp = TopicPartition(topic, partition)
    header_decoding.install()
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        **client_options(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )
    await reader.start()
    try:
        first = (await reader.beginning_offsets([tp]))[tp]
        end = (await reader.end_offsets([tp]))[tp]
        reader.assign([tp])
        if not first <= offset < end:
            return Sent(None, [], 0)
        reader.seek(tp, offset)
        return await _read(reader, tp, min(end, offset + LOOK_AHEAD), offset, command_id)
    except OffsetOutOfRangeError:  # retention was faster
        return Sent(None, [], 0)
    finally:
        await reader.stop()


async def _read(
    reader: AIOKafkaConsumer, tp: TopicPartition, end: int, offset: int, command_id: str
) -> Sent:
    original: ConsumerRecord | None = None
    again: list[RecordPosition] = []
    looked = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while await reader.position(tp) < end:
                for record in (await reader.getmany(tp, timeout_ms=_POLL)).get(tp, ()):
                    if record.offset == offset:
                        original = record
                        continue
                    looked += 1
                    if original and record.key == original.key and _is_it(record.value, command_id):
                        again.append((tp.partition, record.offset))
    except TimeoutError:
        pass  # `looked` counts the records read until then
    return Sent(original and original.value, again, looked)


def _is_it(value: bytes | None, command_id: str) -> bool:
    return id_in(value) == command_id


def id_in(value: bytes | None) -> str | None:
    """The id that a record carries, if it is an object that has one."""
    try:
        found = msgspec.json.decode(value or b"", type=dict[str, msgspec.Raw])
        return msgspec.json.decode(found["id"], type=str)
    except (*NOT_READABLE, KeyError):
        return None
