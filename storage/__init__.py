"""Where runs land: the schema, the commit behind its fence, reads, what reads return, and buses."""

from storage import models, reads
from storage.buses import AsyncRedisExecutionEventBus, RedisExecutionEventBus
from storage.connect import connect
from storage.models import *  # noqa: F403  # the models are listed once, in their package
from storage.queue import AsyncExecutionQueue, ExecutionQueue
from storage.reads import *  # noqa: F403  # so are the reads

__all__ = [
    "AsyncExecutionQueue",
    "AsyncRedisExecutionEventBus",
    "ExecutionQueue",
    "RedisExecutionEventBus",
    "connect",
]
__all__ += models.__all__
__all__ += reads.__all__
