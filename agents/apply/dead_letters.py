"""Records of the dead-letter topic: byte for byte, with their origin in headers."""

from execstream.agents.apply.publisher import OutboundRecord
from execstream.agents.runtime.fetched_records import Record
from execstream.streams.outcomes import Dead, detail_json
from execstream.streams.redriving import is_omitted
from execstream.streams.topics import DEAD_LETTERS

# Room is left for our own headers and Kafka's framing. A compressed record can be any size once it
# is unpacked, so a record too large for the topic stays in Postgres alone.
MAX_BYTES = DEAD_LETTERS.max_message_bytes - 256 * 1024
MAX_KEY_IN_HEADER = 64 * 1024  # bytes

Headers = list[tuple[str, bytes | None]]


def dead_letter(record: Record, dead: Dead, base: int) -> OutboundRecord:
    """`record` for the dead-letter topic. When it is too large for it, only key and origin go
    there, and the header `dlq.omitted` holds the number of bytes stored in `dead_letter`. For a
    record that was too large to be unpacked it holds its size, if that is known.
    """
    place = (record.offset + base, 0)
    origin = _origin(record, dead)
    if is_omitted(dead.reason, len(record.value or b"")):
        size = dead.detail.get("bytes")
        omitted = ("dlq.omitted", None if size is None else str(size).encode())
        return OutboundRecord(place, record.key or b"", None, [*record.headers, *origin, omitted])
    size = _size(record)
    if size <= MAX_BYTES:
        # Our producer takes no record without both; the header marks that there was no key.
        key = b"" if record.key is None and record.value is None else record.key
        return OutboundRecord(place, key, record.value, [*record.headers, *origin])
    key = (record.key or b"")[:MAX_KEY_IN_HEADER]
    return OutboundRecord(place, key, None, [*origin, ("dlq.omitted", str(size).encode())])


def _size(record: Record) -> int:
    headers = sum(len(name) * 4 + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _origin(record: Record, dead: Dead) -> Headers:
    return [
        ("dlq.original.topic", record.topic.encode()),
        ("dlq.original.partition", str(record.partition).encode()),
        ("dlq.original.offset", str(record.offset).encode()),
        ("dlq.original.timestamp", str(record.timestamp).encode()),
        ("dlq.original.key", record.key and record.key[:MAX_KEY_IN_HEADER]),
        ("dlq.reason", dead.reason.encode()),
        ("dlq.detail", detail_json(dead.detail)),
    ]
