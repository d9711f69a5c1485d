"""execstream: execution state of agent graphs, from Kafka commands to Postgres, Redis and HTTP.

Everything public is importable from here. Names are imported when they are first used, so that
`import execstream` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execstream import buses as buses
    from execstream import execution as execution
    from execstream import models as models
    from execstream import queue as queue
    from execstream import reads as reads
    from execstream.client.errors import CommandDead as CommandDead
    from execstream.client.errors import CommandQuarantined as CommandQuarantined
    from execstream.client.errors import CommandRefused as CommandRefused
    from execstream.client.event_batches import EventBatch as EventBatch
    from execstream.client.event_batches import EventPosition as EventPosition
    from execstream.client.event_batches import EventReceipt as EventReceipt
    from execstream.client.event_batches import EventsGone as EventsGone
    from execstream.client.event_batches import PartitionReassigned as PartitionReassigned
    from execstream.client.event_consumer import EventConsumer as EventConsumer
    from execstream.client.execution_client import (
        ExecutionClient as ExecutionClient,
    )
    from execstream.client.sync_event_consumer import SyncEventConsumer as SyncEventConsumer
    from execstream.storage.connections import connect as connect
    from execstream.storage.reads.share_tokens import new_share_token as new_share_token
    from execstream.streams.errors import NotDelivered as NotDelivered
    from execstream.streams.errors import OutcomeUnknown as OutcomeUnknown
    from execstream.streams.events import Event as Event
    from execstream.streams.outcomes import Applied as Applied
    from execstream.streams.outcomes import Dead as Dead
    from execstream.streams.outcomes import Duplicate as Duplicate
    from execstream.streams.outcomes import Quarantined as Quarantined
    from execstream.streams.outcomes import Refused as Refused
    from execstream.streams.statuses import ExecutionStatus as ExecutionStatus

__version__ = "0.2.0"

_MODULES = ("buses", "execution", "models", "queue", "reads")
# Where the other names are, below this package.
_MODULE_OF = {
    "Applied": "streams.outcomes",
    "CommandDead": "client.errors",
    "CommandQuarantined": "client.errors",
    "CommandRefused": "client.errors",
    "Dead": "streams.outcomes",
    "Duplicate": "streams.outcomes",
    "Event": "streams.events",
    "EventBatch": "client.event_batches",
    "EventConsumer": "client.event_consumer",
    "EventPosition": "client.event_batches",
    "EventReceipt": "client.event_batches",
    "EventsGone": "client.event_batches",
    "ExecutionClient": "client.execution_client",
    "ExecutionStatus": "streams.statuses",
    "NotDelivered": "streams.errors",
    "OutcomeUnknown": "streams.errors",
    "PartitionReassigned": "client.event_batches",
    "Quarantined": "streams.outcomes",
    "Refused": "streams.outcomes",
    "SyncEventConsumer": "client.sync_event_consumer",
    "connect": "storage.connections",
    "new_share_token": "storage.reads.share_tokens",
}

__all__ = [*_MODULES, *_MODULE_OF]  # noqa: PLE0604 - these are strings


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
