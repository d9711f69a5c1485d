"""Batches with records that only compression makes small, made without their bytes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import encode_varint

from execstream.streams.topics import COMMANDS

if TYPE_CHECKING:  # a process that only makes a batch does not need the rest
    from tests.worker import Installation, PartitionOffset

ZSTD = 4
MIB = 1024 * 1024

_BLOCK = 128 * 1024
_START = b"\x28\xb5\x2f\xfd\x00\x50"  # of a frame with a window of 1 MiB, without its size

Sent = tuple[bytes, bytes | int]  # key, and a value or how many times "x" it is


def squeezed(records: Sequence[Sent]) -> _DefaultRecordBatchBuilderPy:
    """A builder of the zstd batch of these records: four bytes of it are 128 KiB of a value."""
    made = _Squeezed(2, ZSTD, False, -1, -1, -1, 2**31 - 1)
    made.fill(records)
    return made


async def put_squeezed(
    place: "Installation", partition: int, records: Sequence[Sent]
) -> "list[PartitionOffset]":
    """Put one batch on the commands topic, with acks=all; where its records are."""
    # Not idempotent: only so it takes a batch that another builder made.
    async with AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, acks="all", enable_idempotence=False
    ) as producer:
        batch = producer.create_batch()
        batch._builder = squeezed(records)
        batch._relative_offset = len(records)
        topic = place.topic(COMMANDS.name)
        sent = await (await producer.send_batch(batch, topic, partition=partition))
    places = [(partition, sent.offset + number) for number in range(len(records))]
    place.puts += places
    return places


class _Squeezed(_DefaultRecordBatchBuilderPy):  # type: ignore[misc] # it has no types
    def fill(self, records: Sequence[Sent]) -> None:
        blocks: list[tuple[int, bytes]] = []  # header without "last", content
        for number, (key, value) in enumerate(records):
            self.append(number, timestamp=1_000 + number, key=key, value=b"", headers=[])
            size = value if isinstance(value, int) else len(value)
            start = b"\0" + _varint(number) * 2 + _varint(len(key)) + key + _varint(size)
            blocks += _stored(_varint(len(start) + size + 1) + start)
            blocks += _repeated(size) if isinstance(value, int) else _stored(value)
            blocks += _stored(_varint(0))
        *others, (last, content) = blocks
        whole = [_block(header, held) for header, held in others] + [_block(last | 1, content)]
        self.packed = _START + b"".join(whole)

    def _maybe_compress(self) -> bool:
        self._buffer = bytearray(self.HEADER_STRUCT.size) + self.packed
        return True


def _block(header: int, content: bytes) -> bytes:
    return header.to_bytes(3, "little") + content


def _stored(content: bytes) -> list[tuple[int, bytes]]:
    parts = [content[at : at + _BLOCK] for at in range(0, len(content), _BLOCK)]
    return [(len(part) << 3, part) for part in parts]


def _repeated(size: int) -> list[tuple[int, bytes]]:
    sizes = [_BLOCK] * (size // _BLOCK) + [size % _BLOCK] * bool(size % _BLOCK)
    return [(one << 3 | 2, b"x") for one in sizes]


def _varint(number: int) -> bytes:
    made = bytearray()
    encode_varint(number, made.append)
    return bytes(made)
