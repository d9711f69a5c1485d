"""Event buses that know the settings: addresses that are not given are those of the environment."""

from typing import Any

from execstream.config.settings import settings_at
from execstream.storage.redis import buses


class AsyncRedisExecutionEventBus(buses.AsyncRedisExecutionEventBus):
    """Events of runs and steps for asyncio. An address that is None comes from the settings.

    Raises NotConfigured when no server is named and no local stack runs.
    """

    def __init__(self, redis_url: str | None = None, postgres_dsn: str | None = None) -> None:
        super().__init__(**_options(redis_url, postgres_dsn))


class RedisExecutionEventBus(buses.RedisExecutionEventBus):
    """Events of runs and steps for threads. An address that is None comes from the settings.

    Raises NotConfigured when no server is named and no local stack runs.
    """

    def __init__(self, redis_url: str | None = None, postgres_dsn: str | None = None) -> None:
        super().__init__(**_options(redis_url, postgres_dsn))


def _options(redis_url: str | None, postgres_dsn: str | None) -> dict[str, Any]:
    addresses = {"redis_url": redis_url, "postgres_dsn": postgres_dsn}
    settings = settings_at(addresses, **addresses)
    return {
        "redis_url": settings.redis,
        "postgres_dsn": settings.postgres,
        "schema": settings.schema_,
        "redis_prefix": settings.redis_prefix,
        "max_message_bytes": settings.max_message_bytes,
    }
