"""The door: a client for producers, the `execstream` program, settings and logging.

Names are imported when they are first used, so that `import execstream` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execstream.buses import AsyncRedisExecutionEventBus as AsyncRedisExecutionEventBus
    from execstream.buses import RedisExecutionEventBus as RedisExecutionEventBus
    from execstream.client import ExecutionClient as ExecutionClient
    from execstream.errors import Dead as Dead
    from execstream.errors import NotDelivered as NotDelivered
    from execstream.errors import OutcomeUnknown as OutcomeUnknown
    from execstream.errors import Refused as Refused

_HOMES = {
    "AsyncRedisExecutionEventBus": "execstream.buses",
    "RedisExecutionEventBus": "execstream.buses",
    "ExecutionClient": "execstream.client",
    "Dead": "execstream.errors",
    "NotDelivered": "execstream.errors",
    "OutcomeUnknown": "execstream.errors",
    "Refused": "execstream.errors",
}

__all__ = [
    "AsyncRedisExecutionEventBus",
    "Dead",
    "ExecutionClient",
    "NotDelivered",
    "OutcomeUnknown",
    "RedisExecutionEventBus",
    "Refused",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
