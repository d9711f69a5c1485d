"""Which channels of runs have a subscriber, as far as Redis knows."""

from collections.abc import Collection, Set
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

log = structlog.get_logger(__name__)


class Subscriptions:
    """Asks one Redis. It does not know the subscribers of its replicas, and of subscribers to
    patterns it knows only that there are some."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._is_forbidden = False

    async def heard(self, channels: Collection[str]) -> Set[str]:
        """Those of `channels` that may have a subscriber: all of them where Redis does not know.

        Raises:
            RedisError, OSError: Redis does not answer.
        """
        if self._is_forbidden or not channels:
            return set(channels)
        async with self._redis.pipeline(transaction=False) as asking:
            asking.pubsub_numpat()
            asking.info("replication")
            asking.pubsub_numsub(*channels)
            try:
                answers: list[Any] = await asking.execute()
            except NoPermissionError as error:
                log.warning("subscriptions.unknown", reason=str(error))
                self._is_forbidden = True
                return set(channels)
        patterns, replication, counts = answers
        if patterns or replication["connected_slaves"]:
            return set(channels)
        return {channel.decode() for channel, count in counts if count}
