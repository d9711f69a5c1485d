"""Event buses that know the settings: addresses that are not given are those of the environment."""

from execstream.config.settings import Settings, load_settings, read_settings
from execstream.storage.redis import buses


class AsyncRedisExecutionEventBus(buses.AsyncRedisExecutionEventBus):
    """Events of runs and steps, for those who use asyncio; None means as the settings say.

    Raises NotConfigured when no server is named and no local stack runs.
    """

    def __init__(self, redis_url: str | None = None, postgres_dsn: str | None = None) -> None:
        settings = _settings(redis_url, postgres_dsn)
        super().__init__(
            settings.redis,
            settings.postgres,
            schema=settings.schema_,
            redis_prefix=settings.redis_prefix,
            max_message_bytes=settings.max_message_bytes,
        )


class RedisExecutionEventBus(buses.RedisExecutionEventBus):
    """Events of runs and steps, for those who use threads; None means as the settings say.

    Raises NotConfigured when no server is named and no local stack runs.
    """

    def __init__(self, redis_url: str | None = None, postgres_dsn: str | None = None) -> None:
        settings = _settings(redis_url, postgres_dsn)
        super().__init__(
            settings.redis,
            settings.postgres,
            schema=settings.schema_,
            redis_prefix=settings.redis_prefix,
            max_message_bytes=settings.max_message_bytes,
        )


def _settings(redis_url: str | None, postgres_dsn: str | None) -> Settings:
    """The settings with the given addresses, which are enough when both are given."""
    if redis_url is None or postgres_dsn is None:
        return load_settings().at(redis_url=redis_url, postgres_dsn=postgres_dsn)
    return read_settings().at(redis_url=redis_url, postgres_dsn=postgres_dsn)
