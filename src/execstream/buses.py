"""Event buses: every event of runs and steps, without gaps, for asyncio and for threads."""

from execstream.client.buses import (
    AsyncRedisExecutionEventBus,
    RedisExecutionEventBus,
)

__all__ = ["AsyncRedisExecutionEventBus", "RedisExecutionEventBus"]
