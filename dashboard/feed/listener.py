"""The one subscriber to Redis: it wakes the reader, which reads Postgres.

It subscribes to one message per batch and not to the messages of runs, which cost the server as
much as they carry, whether or not a stream is open.
"""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from execstream.config.tasks import end
from execstream.storage.redis.channels import wake_up_channel
from execstream.streams.errors import reason_of

RECONNECT = 0.5  # seconds

log = structlog.get_logger(__name__)


class Listener:
    """Calls `heard` whenever the bridge has published a batch of events.

    Attributes:
        is_listening: whether it is subscribed now.
    """

    def __init__(self, redis: Redis, redis_prefix: str, heard: Callable[[], None]) -> None:
        self.is_listening = False
        self._redis = redis
        self._channel = wake_up_channel(redis_prefix)
        self._heard = heard
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop, if it was started."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as messages:
                    await messages.subscribe(self._channel)
                    self.is_listening = True
                    async for _ in messages.listen():  # the first confirms the subscription
                        self._heard()
            except (RedisError, OSError) as error:
                log.warning("redis.away", error=reason_of(error))
            finally:
                self.is_listening = False
            await asyncio.sleep(RECONNECT)
