"""A subscriber of all channels that notes the messages."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from itertools import accumulate, groupby

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from execstream.storage.redis.channels import execution_channel

Source = tuple[int, int, int]


class _Payload(msgspec.Struct):
    source: Source


class _Message(msgspec.Struct):
    payload: _Payload


_decode = msgspec.json.Decoder(_Message).decode


class Listener:
    """Subscribes once, and so receives all messages until Redis goes down.

    Attributes:
        heard: sources of messages by partition, in order.
        is_deaf: whether the subscription has broken.
    """

    def __init__(self, redis_url: str, prefix: str) -> None:
        self.heard: defaultdict[int, list[Source]] = defaultdict(list)
        # A new subscription by itself would hide the messages missed meanwhile.
        self._redis: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
        self._pattern = execution_channel(prefix, "*", "*", "*")
        self._pubsub = self._redis.pubsub()
        self._listening: asyncio.Task[None] | None = None

    @property
    def is_deaf(self) -> bool:
        return self._listening is None or self._listening.done()

    async def begin(self) -> None:
        await self._pubsub.psubscribe(self._pattern)
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._redis.aclose()

    def kept(self) -> dict[int, list[Source]]:
        """Sources by partition, without those that are not greater than the last one."""
        kept: dict[int, list[Source]] = {}
        for partition, heard in self.heard.items():
            greatest = accumulate(heard, max)
            kept[partition] = [source for source, _ in groupby(greatest)]
        return kept

    async def _listen(self) -> None:
        with suppress(RedisError, OSError):
            async for message in self._pubsub.listen():
                if message["type"] == "pmessage":
                    source = _decode(message["data"]).payload.source
                    self.heard[source[0]].append(source)
