"""`execstream emit`: commands from a file or a pipe to Kafka."""

import re
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from execstream.cli.common import FileOrStdin, Json, print_json, start
from execstream.cli.terminal import err
from execstream.kafka.producer import BulkProducer
from execstream.streams.errors import NOT_READABLE
from execstream.streams.redriving import named_key
from execstream.streams.topics import COMMANDS

_GRAPH_EXEC_ID = re.compile(rb'"graph_exec_id"\s*:\s*"([^"\\]+)"')


class _AnyObject(msgspec.Struct):
    """A JSON object, whatever is in it: this is not the place to judge commands."""


_read = msgspec.json.Decoder(_AnyObject).decode


async def emit(
    file: FileOrStdin = Path("-"),
    /,
    *,
    raw: Annotated[bool, Parameter(negative="")] = False,
    _json: Json = False,  # it is always JSON
) -> int:
    """Send commands, one JSON object per line, and print the number that Kafka has.

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
                elif value and _is_object(value):
                    await producer.add(named_key(value), value)
                elif value:
                    wrong += 1
                    err.print(f"Line {number} is no JSON object.", soft_wrap=True)
    print_json({"sent": producer.sent, "acknowledged": producer.acknowledged})
    return 1 if wrong or producer.acknowledged < producer.sent else 0


def _is_object(value: bytes) -> bool:
    try:
        _read(value)
    except NOT_READABLE:
        return False
    return True


def _key_in(value: bytes) -> bytes | None:
    """The key, as far as it can be read out of a value that may not be JSON."""
    if _is_object(value):
        return named_key(value)
    found = _GRAPH_EXEC_ID.search(value)
    return found[1] if found else None
