"""Listeners of event buses, changes of runs, and a publisher of these."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from execstream.devstack import Addresses
from execstream.models import ExecutionEvent, GraphExecution
from execstream.storage.redis.messages.run_views import RunViews
from execstream.streams.events import Event
from tests.names import Names
from tests.orders import Orders
from tests.storage.histories import History
from tests.storage.proxy import Cable

PATIENCE = 20.0  # seconds


@dataclass
class Scene:
    """Tables, a publisher of events that may be silent, and buses to listen on."""

    servers: Addresses
    names: Names
    history: History
    redis: Redis
    views: RunViews
    cable: Cable
    redis_url: str  # of the near end of the cable
    told: list[Event] = field(default_factory=list)

    @property
    def place(self) -> dict[str, Any]:
        """The addresses that a bus needs."""
        return {
            "redis_url": self.redis_url,
            "postgres_dsn": self.servers.postgres_dsn,
            "schema": self.names.schema,
            "redis_prefix": self.names.redis_prefix,
        }

    async def commit(self, orders: Iterable[Any]) -> list[Event]:
        """Commit commands without publishing them."""
        return await self.history.take((order.key, order.value) for order in orders)

    async def happen(self, orders: Iterable[Any]) -> list[Event]:
        """Commit commands and publish them as the bridge does."""
        events = await self.commit(orders)
        await self.tell(events, self.views)
        self.told += events
        return events

    async def replay(self, events: Sequence[Event]) -> None:
        """Publish events again as `replay --events` does; the first is the first of its run."""
        await self.tell(events, RunViews(self.names.redis_prefix, replayed=True))

    async def tell(self, events: Sequence[Event], views: RunViews) -> None:
        """Publish the messages that `views` makes of them."""
        for event in events:
            channel, message = views.message_for(event)
            await self.redis.publish(channel, message)


def life(orders: Orders, *, values: int = 3) -> list[Any]:
    """A run from its creation to its end."""
    return [
        orders.create(orders.node("a", inputs={"x": 0.1})),
        orders.start(),
        orders.move_step("a", "RUNNING"),
        *(orders.emit("a", data=number) for number in range(values)),
        orders.move_step("a", "COMPLETED"),
        orders.give("b", data="text"),
        orders.move("COMPLETED", stats={"cost": 3, "walltime": 1.5}),
    ]


async def heard(events: Any, count: int) -> list[ExecutionEvent]:
    """The next `count` events."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


async def until(holds: Callable[[], object]) -> None:
    """Return when it holds; it happens in another task."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def run_of(event: ExecutionEvent) -> str:
    """The id of its run."""
    return event.id if isinstance(event, GraphExecution) else event.graph_exec_id
