"""Ids that sort by the time they were made: UUID version 7 (RFC 9562)."""

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7() -> str:
    """A new id: 48 bits of milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    milliseconds = time.time_ns() // 1_000_000
    high, low = random >> 68, random & (1 << 62) - 1
    return str(UUID(int=milliseconds << 80 | _VERSION_7 | high << 64 | _VARIANT | low))
