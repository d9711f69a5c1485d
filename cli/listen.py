"""`execstream listen`: changes of runs and steps, from Redis.

It prints message by message as they are published, which the event buses do not show; messages
published while Redis cannot be reached are missing here, and it prints a note.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from redis.exceptions import RedisError

from execstream.cli.common import Json, print_json, start
from execstream.cli.terminal import err, out
from execstream.cli.words import UNREADABLE, update_text
from execstream.storage.redis.buses.subscription import Subscription
from execstream.storage.redis.channels import execution_channel
from execstream.streams import exact_json

RECONNECT = 0.5  # seconds


async def listen(
    *, user: str = "*", graph: str = "*", execution: str = "*", json: Json = False
) -> None:
    """Print updates until Ctrl-C, without earlier ones.

    Parameters
    ----------
    user
        Only runs of this user.
    graph
        Only runs of this graph.
    execution
        Only this run.
    """
    settings = start()
    channel = execution_channel(settings.redis_prefix, user, graph, execution)
    async for message in _messages(settings.redis, channel):
        try:
            payload = _payload(message)
            line = None if json else update_text(payload)
        except UNREADABLE as error:
            _print_note(
                f"Not understood: a message of {len(message):,} bytes ({type(error).__name__})"
            )
            continue
        if line is None:
            print_json(payload)
        else:
            out.print(line, soft_wrap=True)


def _payload(message: bytes) -> dict[str, Any]:
    match exact_json.decode(message):
        case {"payload": dict() as payload} if "event_type" in payload:
            return payload
    raise ValueError("without a payload")


async def _messages(redis_url: str, channel: str) -> AsyncIterator[bytes]:
    """Yield the messages on `channel`, without an end. Raises a RedisError or OSError when Redis is
    unavailable from the beginning.
    """
    is_first = True
    while True:
        subscription = Subscription(redis_url, channel, is_pattern=True)
        is_heard = False
        try:
            await subscription.open()
            _print_note(f"Listening to {channel}")
            is_first, is_heard = False, True
            while True:
                yield await subscription.receive()
        except (RedisError, OSError):
            if is_first:
                raise
            if is_heard:
                _print_note("Redis is unavailable; messages until it is back are not shown here.")
            await asyncio.sleep(RECONNECT)
        finally:
            await subscription.close()


def _print_note(text: str) -> None:
    err.print(text, soft_wrap=True)
