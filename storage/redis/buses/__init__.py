"""Event buses: changes of runs and steps, live, for any listener.

A listener that was cut off reads the missed events from the journal: it sees every event once,
those of a run in their order.
"""

from execstream.storage.redis.buses.asynchronous import AsyncRedisExecutionEventBus
from execstream.storage.redis.buses.threaded import RedisExecutionEventBus

__all__ = ["AsyncRedisExecutionEventBus", "RedisExecutionEventBus"]
