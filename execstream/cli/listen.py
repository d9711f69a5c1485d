"""`execstream listen`: what happens to runs and steps, as Redis tells it."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from redis.asyncio import Redis

from execstream.cli.common import Json, err, out, print_json, start
from execstream.cli.words import update_text
from storage.channels import execution_channel

_decode = msgspec.json.Decoder().decode


async def listen(
    *, user: str = "*", graph: str = "*", execution: str = "*", json: Json = False
) -> None:
    """Print updates until Ctrl-C; what happened before is not told.

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
    async for payload in _updates(settings.redis, channel):
        if json:
            print_json(payload)
        else:
            out.print(update_text(payload), soft_wrap=True)


async def _updates(redis_url: str, channel: str) -> AsyncIterator[dict[str, Any]]:
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as pubsub:
        await pubsub.psubscribe(channel)
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                yield _decode(message["data"])["payload"]
            else:
                err.print(f"Listening to {channel}", soft_wrap=True, markup=False)
