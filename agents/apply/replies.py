"""Publish outcomes on the Redis channels that commands name.

A reply may get lost: Redis may be down, or the worker die between commit and reply. A client that
waits for one asks Postgres in the end (`ExecutionClient.call`).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from execstream.agents.runtime.metrics import REPLIES_LOST
from execstream.agents.runtime.tasks import spawn
from execstream.storage.redis.channels import encode_reply, reply_channel
from execstream.storage.redis.positions import open_redis
from execstream.streams.errors import reason_of
from execstream.streams.outcomes import Outcome

log = structlog.get_logger(__name__)

_MOST_WAITING = 10_000  # replies; older ones are dropped when Redis does not take them


class Replies:
    """Sends in the background, in order, one pipeline at a time."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self._redis = open_redis(redis_url)
        self._prefix = prefix
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._sending: asyncio.Task[Any] | None = None

    def add(self, replies: Sequence[tuple[str, str, Outcome]]) -> None:
        """(reply_to, command id, outcome) each."""
        for reply_to, command_id, outcome in replies:
            channel = reply_channel(self._prefix, reply_to)
            self._waiting.append((channel, encode_reply(command_id, outcome)))
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
            REPLIES_LOST.inc()
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = spawn(self._send_all())

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=1)
        await self._redis.aclose()

    async def _send_all(self) -> None:
        while self._waiting:
            pipeline = self._redis.pipeline(transaction=False)
            for channel, message in self._waiting:
                pipeline.publish(channel, message)
            count = len(self._waiting)
            self._waiting.clear()
            try:
                await pipeline.execute()
            except (RedisError, OSError) as error:
                REPLIES_LOST.inc(count)
                log.warning("replies_lost", replies=count, error=reason_of(error))
