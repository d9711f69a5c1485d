"""The event bus for asyncio."""

import asyncio
from typing import Self

from redis.asyncio import Redis

from execstream.storage.connections import Session
from execstream.storage.models.graph_execution import GraphExecution
from execstream.storage.models.messages import (
    ExecutionEvent,
    GraphExecutionEvent,
    NodeExecutionEvent,
)
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.redis.buses.listening import Counts, Listening
from execstream.storage.redis.buses.missed_events import History
from execstream.storage.redis.buses.scope import EVERY, Scope
from execstream.storage.redis.buses.subscription import Subscription
from execstream.storage.redis.channels import EXECUTION_EVENT, MAX_MESSAGE_BYTES, execution_channel
from execstream.storage.redis.positions import open_redis
from execstream.streams import exact_json
from execstream.streams.shortening import shorten


class AsyncRedisExecutionEventBus:
    """Events of runs and steps; used as a context, or closed with `aclose`.

    Args:
        redis_url: where events are published.
        postgres_dsn: source of the events that were published while the listener was cut off.
        schema: of the tables.
        redis_prefix: stands before every channel.
        max_message_bytes: messages published by hand are shortened to this, as the bridge does.
    """

    def __init__(
        self,
        redis_url: str,
        postgres_dsn: str,
        *,
        schema: str = "execstream",
        redis_prefix: str = "",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.counts = Counts()
        self._redis_url = redis_url
        self._postgres_dsn = postgres_dsn
        self._schema = schema
        self._prefix = redis_prefix
        self._max_message_bytes = max_message_bytes
        self._redis: Redis | None = None

    @property
    def event_bus_name(self) -> str:
        """The beginning of the names of its channels."""
        return self._prefix + EXECUTION_EVENT

    async def publish(self, res: GraphExecution | NodeExecutionResult) -> None:
        """Publish the state of a run or a step to the current listeners; nothing is stored.

        Changes by commands are published without it. Raises a RedisError or OSError when Redis is
        unavailable.
        """
        if self._redis is None:
            self._redis = open_redis(self._redis_url)
        run_id = res.id if isinstance(res, GraphExecution) else res.graph_exec_id
        channel = execution_channel(self._prefix, res.user_id, res.graph_id, run_id)
        await self._redis.publish(channel, _message(res, self._max_message_bytes))

    def listen(self, user_id: str, graph_id: str = EVERY, graph_exec_id: str = EVERY) -> Listening:
        """Iterate over the events of a user's runs (`*`: of every owner) from now on, without an
        end.

        `async for event in bus.listen(…)` begins to listen when the first event is asked for,
        `async with bus.listen(…) as events` when it is entered.

        Raises:
            ValueError: an id that is none.
        """
        scope = Scope(user_id, graph_id, graph_exec_id)
        channel = execution_channel(self._prefix, user_id, graph_id, graph_exec_id)
        session = Session(self._postgres_dsn, self._schema)
        return Listening(
            lambda: Subscription(self._redis_url, channel, is_pattern=scope.is_pattern),
            History(session, scope, self._max_message_bytes),
            self.counts,
        )

    async def wait_for_event(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - callers think in seconds, not in scopes
        user_id: str = EVERY,
        graph_id: str = EVERY,
        graph_exec_id: str = EVERY,
    ) -> ExecutionEvent | None:
        """The next event of any owner unless `user_id` is given; None after `timeout` seconds."""
        events = self.listen(user_id, graph_id, graph_exec_id)
        try:
            async with asyncio.timeout(timeout):
                return await anext(events)
        except TimeoutError:
            return None
        finally:
            await events.aclose()

    async def aclose(self) -> None:
        """Close the connection used for publishing; listeners close themselves."""
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _message(res: GraphExecution | NodeExecutionResult, max_bytes: int) -> bytes:
    fields = res.model_dump(exclude={"share_token", "node_executions", "event_type"})
    if isinstance(res, GraphExecution):
        event: ExecutionEvent = GraphExecutionEvent.model_construct(**fields)
    else:
        event = NodeExecutionEvent.model_construct(**fields)
    message = exact_json.encode({"payload": event})
    if len(message) <= max_bytes:
        return message
    event.truncated = True
    return shorten(exact_json.encode({"payload": event}), max_bytes)
