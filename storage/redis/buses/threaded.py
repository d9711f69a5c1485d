"""The event bus for threads: the asynchronous one, on an event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from execstream.storage.models.graph_execution import GraphExecution
from execstream.storage.models.messages import ExecutionEvent
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.redis.buses.asynchronous import AsyncRedisExecutionEventBus
from execstream.storage.redis.buses.listening import Counts, Listening
from execstream.storage.redis.buses.scope import EVERY
from execstream.storage.redis.channels import MAX_MESSAGE_BYTES

T = TypeVar("T")


class RedisExecutionEventBus:
    """`AsyncRedisExecutionEventBus` for any number of threads; `close` ends its own thread."""

    def __init__(
        self,
        redis_url: str,
        postgres_dsn: str,
        *,
        schema: str = "execstream",
        redis_prefix: str = "",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._bus = AsyncRedisExecutionEventBus(
            redis_url,
            postgres_dsn,
            schema=schema,
            redis_prefix=redis_prefix,
            max_message_bytes=max_message_bytes,
        )
        self._thread = LoopThread()

    @property
    def counts(self) -> Counts:
        """The counters of its listeners so far."""
        return self._bus.counts

    @property
    def event_bus_name(self) -> str:
        """The beginning of the names of its channels."""
        return self._bus.event_bus_name

    def publish(self, res: GraphExecution | NodeExecutionResult) -> None:
        """Publish the state of a run or a step to the current listeners; nothing is stored.

        Changes by commands are published without it. Raises a RedisError or OSError when Redis is
        unavailable.
        """
        self._thread.run(self._bus.publish(res))

    def listen(
        self, user_id: str, graph_id: str = EVERY, graph_exec_id: str = EVERY
    ) -> "ThreadedListening":
        """Iterate over the events of a user's runs (`*`: of every owner) from now on, without an
        end.

        `for event in bus.listen(…)` begins to listen when the first event is asked for,
        `with bus.listen(…) as events` when it is entered.

        Raises:
            ValueError: an id that is none.
        """
        return ThreadedListening(self._bus.listen(user_id, graph_id, graph_exec_id), self._thread)

    def wait_for_event(
        self,
        timeout: float | None = None,
        user_id: str = EVERY,
        graph_id: str = EVERY,
        graph_exec_id: str = EVERY,
    ) -> ExecutionEvent | None:
        """The next event of any owner unless `user_id` is given; None after `timeout` seconds."""
        return self._thread.run(self._bus.wait_for_event(timeout, user_id, graph_id, graph_exec_id))

    def close(self) -> None:
        """Close the connection used for publishing, and end the thread; listeners must be closed
        before.
        """
        self._thread.run(self._bus.aclose())
        self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ThreadedListening:
    """Events, as an iterator that ends when it is closed; it is its own context.

    Entering the context returns when everything that is committed from then on will be delivered.
    """

    def __init__(self, events: Listening, thread: "LoopThread") -> None:
        self._events = events
        self._thread = thread

    def __enter__(self) -> Self:
        self._thread.run(self._events.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ExecutionEvent:
        try:
            return self._thread.run(self._events.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Stop listening; the iteration of a waiting thread ends."""
        self._thread.run(self._events.aclose())


class LoopThread:
    """A thread that runs coroutines for others, from the first one on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; it is cancelled when waiting for it is interrupted."""
        result = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return result.result()
        finally:
            result.cancel()

    def stop(self) -> None:
        """End the thread; a later `run` starts another one."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
