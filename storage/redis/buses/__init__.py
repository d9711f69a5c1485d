"""Event buses: what happens to runs and steps, as it happens, for whoever listens.

A listener that was cut off finds what it missed in the journal: it sees every event once, those of
a run in their order.
"""

from execstream.storage.redis.buses.asynchronous import AsyncRedisExecutionEventBus
from execstream.storage.redis.buses.threaded import RedisExecutionEventBus

__all__ = ["AsyncRedisExecutionEventBus", "RedisExecutionEventBus"]
