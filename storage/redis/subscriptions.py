"""Which channels of runs have a subscriber, as far as Redis knows.

A channel whose last subscriber has left counts as having one for some time, in which the bridge
keeps the state of its run: otherwise a subscriber that reconnects often would have it read the
journal of a large run each time.
"""

import time
from collections.abc import Collection, Set
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

LINGER = 60.0  # seconds that a channel counts as having a subscriber after it had one
ASK_AGAIN = 60.0  # seconds after Redis has forbidden to ask

log = structlog.get_logger(__name__)


class Subscriptions:
    """Asks one Redis. It does not know the subscribers of its replicas, and of subscribers to
    patterns it knows only that there are some."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._asks_from = float("-inf")  # by the monotonic clock, as all times here
        self._until: dict[str, float] = {}  # when channels that had a subscriber are forgotten
        self._forgets_at = float("-inf")

    async def heard(self, channels: Collection[str]) -> Set[str]:
        """Return those of `channels` that may have a subscriber: all of them where Redis does not
        know.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        now = time.monotonic()
        if now < self._asks_from or not channels:
            return set(channels)
        async with self._redis.pipeline(transaction=False) as asking:
            asking.pubsub_numpat()
            asking.info("replication")
            asking.pubsub_numsub(*channels)
            try:
                answers: list[Any] = await asking.execute()
            except NoPermissionError as error:
                log.warning("subscriptions.unknown", reason=str(error), again_in=ASK_AGAIN)
                self._asks_from = now + ASK_AGAIN
                return set(channels)
        patterns, replication, counts = answers
        if patterns or replication["connected_slaves"]:
            return set(channels)
        self._until |= {channel.decode(): now + LINGER for channel, count in counts if count}
        if now >= self._forgets_at:
            self._until = {channel: until for channel, until in self._until.items() if until > now}
            self._forgets_at = now + LINGER
        return {channel for channel in channels if self._until.get(channel, now) > now}
