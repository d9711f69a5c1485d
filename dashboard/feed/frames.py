"""Frames of server-sent events: an id, a type, and one line of JSON."""

from datetime import UTC, datetime

from execstream.streams import exact_json

# How long a browser waits before it comes back, in milliseconds.
RETRY = b"retry: 1000\n\n"
END = b"\n\n"


def frame(kind: str, cursor: str, data: bytes) -> bytes:
    """`data` must be one line, as JSON encoders make it."""
    return begin(kind, cursor) + data + END


def begin(kind: str, cursor: str) -> bytes:
    """The beginning of a frame, up to its data."""
    return b"id: %b\nevent: %b\ndata: " % (cursor.encode(), kind.encode())


def heartbeat(cursor: str) -> bytes:
    """Nothing happened up to `cursor`, and we are still here."""
    return frame("heartbeat", cursor, exact_json.encode({"at": datetime.now(UTC)}))


def resync(cursor: str, reason: str) -> bytes:
    """A frame for a gap in the live feed, which the following frames fill."""
    return frame("resync", cursor, exact_json.encode({"reason": reason}))
