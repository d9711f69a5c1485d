"""Outcomes of a client's commands: from Redis at once, else from Postgres.

A reply on Redis is published once and stored nowhere, so it may be missed. Outcomes recorded in
Postgres stay, for as long as the journal of the run does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from execstream.client.ids import uuid7
from execstream.config.tasks import end
from execstream.storage.redis.channels import reply_channel
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Quarantined,
    QuarantineReason,
    Refusal,
    Refused,
)

RECONNECT = 0.5  # seconds

_decode = msgspec.json.Decoder().decode


class ReplyListener:
    """The reply channel of one client.

    Attributes:
        name: the value of `reply_to` in commands.
        listening: whether replies arrive now; not while Redis is unavailable.
    """

    def __init__(self, redis_url: str, redis_prefix: str) -> None:
        self.name = uuid7()
        self.listening = False
        self._channel = reply_channel(redis_prefix, self.name)
        self._redis: Redis = Redis.from_url(redis_url)
        self._expected: dict[str, asyncio.Future[Outcome]] = {}
        self._subscribed = asyncio.Event()
        self._listener = asyncio.create_task(self._listen())

    async def ready(self) -> None:
        """Return when the channel is subscribed to, or Redis turns out to be away."""
        await self._subscribed.wait()

    async def close(self) -> None:
        """Stop listening."""
        await end(self._listener)
        await self._redis.aclose()

    @asynccontextmanager
    async def expected(self, command_id: str) -> AsyncIterator[asyncio.Future[Outcome]]:
        """The outcome of a command, when its reply comes.

        Ids are unique in a run only and replies do not name the run, so a second call for an id
        that is expected already waits for its turn.
        """
        while other := self._expected.get(command_id):
            await asyncio.wait([other])
        reply: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._expected[command_id] = reply
        try:
            yield reply
        finally:
            del self._expected[command_id]
            reply.cancel()

    async def _listen(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._subscription() as messages:
                    async for message in messages:
                        self._receive(message)
            self.listening = False
            self._subscribed.set()
            await asyncio.sleep(RECONNECT)

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            yield pubsub.listen()

    def _receive(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self.listening = True
            self._subscribed.set()
            return
        reply = _decode(message["data"])
        waiting = self._expected.get(reply["command_id"])
        if waiting and not waiting.done():
            waiting.set_result(_outcome(reply))


def _outcome(reply: dict[str, Any]) -> Outcome:
    """The outcome that `execstream.streams.outcomes.reply` put into a message."""
    detail = reply.get("detail", {})
    if reply["outcome"] == "refused":
        return Refused(Refusal(reply["reason"]), detail)
    if reply["outcome"] == "dead":
        return Dead(DeadReason(reply["reason"]), detail)
    if reply["outcome"] == "quarantined":
        return Quarantined(QuarantineReason(reply["reason"]), detail)
    first, last = reply.get("seq", (None, None))
    node_exec_id, updated = reply.get("node_exec_id"), reply.get("updated")
    applied = Applied(first, last, node_exec_id, updated, detail.get("skipped"))
    return Duplicate(applied) if reply["outcome"] == "duplicate" else applied
