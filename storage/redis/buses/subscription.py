"""A subscription to a Redis channel that notices when it ends.

It never reconnects on its own: messages published meanwhile would be missing without notice.
"""

from typing import Any

from redis.asyncio.client import PubSub

from execstream.storage.redis.positions import PATIENCE, open_redis

SILENCE = 5.0  # seconds without a message until Redis is asked whether it is still there


class Subscription:
    """It is for one reader. Raises redis' ConnectionError (or another RedisError) when it is cut
    off.
    """

    def __init__(self, redis_url: str, channel: str, *, is_pattern: bool) -> None:
        self._redis = open_redis(redis_url)
        self._pubsub: PubSub = self._redis.pubsub()
        self._channel = channel
        self._is_pattern = is_pattern

    async def open(self) -> None:
        """Return when all messages published from now on will be received."""
        subscribe = self._pubsub.psubscribe if self._is_pattern else self._pubsub.subscribe
        await subscribe(self._channel)
        if await self._pubsub.get_message(timeout=PATIENCE) is None:
            raise ConnectionError(f"Redis did not answer for {PATIENCE} seconds.")

    async def receive(self) -> bytes:
        """The next message. May be cancelled without losing one."""
        while True:
            message = await self._next() or await self._next_after_ping()
            if message["type"] in ("message", "pmessage"):
                data: bytes = message["data"]
                return data
            if message["type"] != "pong":  # a second confirmation
                raise ConnectionError(
                    "Redis re-subscribed unexpectedly; messages may have been missed."
                )

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it so
        await self._redis.aclose()

    async def _next(self) -> dict[str, Any] | None:
        message: dict[str, Any] | None = await self._pubsub.get_message(timeout=SILENCE)
        return message

    async def _next_after_ping(self) -> dict[str, Any]:
        await self._pubsub.ping()
        message = await self._next()
        if message is None:
            raise ConnectionError(f"Redis was silent for {2 * SILENCE} seconds.")
        return message
