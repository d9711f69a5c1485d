"""`execstream emit`: commands from a file or a pipe to Kafka."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from execstream.cli.common import err, print_json, start
from execstream.producer import BulkProducer
from streams.commands import SetKeyValue, type_of
from streams.topics import COMMANDS

_GRAPH_EXEC_ID = re.compile(rb'"graph_exec_id"\s*:\s*"([^"\\]+)"')


class _Header(msgspec.Struct):
    """What says the key; of any type, because this is not the place to judge commands."""

    type: Any = None
    graph_exec_id: Any = None
    user_id: Any = None

    @property
    def key(self) -> bytes | None:
        is_key_value = self.type == type_of(SetKeyValue)
        key = self.user_id if is_key_value else self.graph_exec_id
        return key.encode() if isinstance(key, str) and key else None


_read = msgspec.json.Decoder(_Header).decode


async def emit(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)] = Path("-"),
    /,
    *,
    raw: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Send commands, one JSON object per line, and say how many Kafka has.

    Parameters
    ----------
    file
        Where the lines are; - for stdin.
    raw
        Send lines untouched, whatever they are: for testing dead letters.
    """
    settings = start()
    lines = sys.stdin.buffer if file == Path("-") else file.open("rb")
    wrong = 0
    topic = settings.topic_prefix + COMMANDS.name
    with lines:
        async with BulkProducer(settings.kafka, topic) as producer:
            for number, line in enumerate(lines, start=1):
                value = line.rstrip(b"\r\n")
                if raw:
                    await producer.add(_key_in(value), value)
                elif value and (header := _header(value)):
                    await producer.add(header.key, value)
                elif value:
                    wrong += 1
                    err.print(f"Line {number} is no JSON object.", soft_wrap=True)
    print_json({"sent": producer.sent, "acknowledged": producer.acknowledged})
    return 1 if wrong or producer.acknowledged < producer.sent else 0


def _header(value: bytes) -> _Header | None:
    try:
        return _read(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _key_in(value: bytes) -> bytes | None:
    """The key, as far as it can be read out of what may be no JSON."""
    if header := _header(value):
        return header.key
    found = _GRAPH_EXEC_ID.search(value)
    return found[1] if found else None
