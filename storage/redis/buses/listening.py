"""One listener: live events, missed events, each event once.

Sources are its positions: in each partition, it has delivered everything of its scope up to the
last source delivered. So after a cut it reads the later events from the journal, up to the last
committed one, and drops those that arrive again. An event that an operator republished is delivered
as such and moves no position: it may be older or newer than the position of the listener.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import asyncpg
import structlog
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError

from execstream.storage.models.messages import ExecutionEvent
from execstream.storage.redis.buses.missed_events import History, Missed
from execstream.storage.redis.buses.subscription import Subscription
from execstream.streams import exact_json
from execstream.streams.errors import reason_of
from execstream.streams.events import NOWHERE, SourceOffset

log = structlog.get_logger(__name__)

RECONNECT = 0.5  # seconds
INTERRUPT_AGAIN = 1.0  # seconds

# Redis or Postgres is unavailable: waiting helps.
_CUT_OFF = (
    RedisError,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)

_events: TypeAdapter[ExecutionEvent] = TypeAdapter(ExecutionEvent)


@dataclass(slots=True)
class Counts:
    """Counters of the listeners of a bus: unreadable messages, and cuts."""

    unparsable: int = 0
    cut_off: int = 0


class Listening:
    """Events, as an async iterator that ends when it is closed; it is its own context.

    Entering the context returns when everything that is committed from then on will be delivered.
    Waiting for an event may be cancelled and begun again without losing one. The waiting task may
    be another one than the task that closes.
    """

    def __init__(
        self, subscribe: Callable[[], Subscription], history: History, counts: Counts
    ) -> None:
        self._subscribe = subscribe
        self._history = history
        self._counts = counts
        self._subscription: Subscription | None = None
        self._is_new = True
        self._is_closed = False
        self._turn = asyncio.Lock()
        self._worker: asyncio.Task[object] | None = None  # the one in its turn
        self._interruptions = 0  # of the worker, by `aclose`
        # By partition: the position from which on events are delivered, and the last delivered one.
        self._since: dict[int, SourceOffset] = {}
        self._last: dict[int, SourceOffset] = {}
        # A gap: its end, the next events, and the events already delivered within it, by run.
        self._until: dict[int, SourceOffset] | None = None
        self._missed: AsyncGenerator[Missed] | None = None
        self._delivered: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        async with self._until_closed():
            if not self._is_closed:
                await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ExecutionEvent:
        async with self._until_closed():
            while not self._is_closed:
                try:
                    subscription = await self._connect()
                    event = None if subscription is None else await self._next(subscription)
                except _CUT_OFF as error:
                    await self._terminate(error)
                else:
                    if event is not None:
                        return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop listening; a wait for an event ends with the answer that there are no more."""
        self._is_closed = True
        turn = asyncio.create_task(self._turn.acquire())
        try:
            # A library may swallow a cancellation that comes as its own wait ends, so there may
            # have to be another one.
            while not turn.done():
                self._interrupt()
                await asyncio.wait({turn}, timeout=INTERRUPT_AGAIN)
            await self._release_connections()
        finally:
            if turn.done():
                self._turn.release()
            turn.cancel()

    def _interrupt(self) -> None:
        if self._worker is not None:
            self._interruptions += 1
            self._worker.cancel()
            self._history.terminate()  # a silent Postgres would not notice a cancellation

    async def _release_connections(self) -> None:
        if self._missed is not None:
            await self._missed.aclose()
        if self._subscription is not None:
            await self._subscription.close()
        await self._history.close()

    @asynccontextmanager
    async def _until_closed(self) -> AsyncGenerator[None]:
        """Run the body as the worker, which closing the listener interrupts, however long it would
        wait.
        """
        async with self._turn:
            worker = self._worker = asyncio.current_task()
            assert worker is not None  # noqa: S101 - coroutines run in tasks
            try:
                yield
                if self._interruptions:
                    await asyncio.sleep(0)  # a cancellation on its way is not for the caller
            except asyncio.CancelledError:
                if worker.cancelling() > self._interruptions or not self._interruptions:
                    raise  # the caller, too, was cancelled
            finally:
                for _ in range(self._interruptions):
                    worker.uncancel()
                self._worker, self._interruptions = None, 0

    # ---- the line --------------------------------------------------------------------------

    async def _connect(self) -> Subscription | None:
        """The subscription, made if there is none, however long that takes; None when closed."""
        while self._subscription is None and not self._is_closed:
            subscription = self._subscribe()
            try:
                await subscription.open()
                self._begin(await self._history.committed())
                self._subscription = subscription
            except _CUT_OFF as error:
                await self._terminate(error)
            finally:
                if self._subscription is None:
                    await subscription.close()
        return self._subscription

    def _begin(self, committed: dict[int, SourceOffset]) -> None:
        """Everything that is committed after `committed` will be received."""
        if self._is_new:
            self._since, self._is_new = committed, False
        else:
            self._until = committed

    async def _terminate(self, error: Exception) -> None:
        self._counts.cut_off += 1
        log.warning("listener_cut_off", error=reason_of(error))
        self._history.terminate()
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.close()
        await asyncio.sleep(RECONNECT)

    # ---- events ----------------------------------------------------------------------------

    async def _next(self, subscription: Subscription) -> ExecutionEvent | None:
        """The next event; None for a message that is no new event."""
        if self._until is not None:
            return await self._next_missed(self._until)
        return self._unseen(self._parsed(await subscription.receive()))

    async def _next_missed(self, until: dict[int, SourceOffset]) -> ExecutionEvent | None:
        if self._missed is None:
            self._missed = self._history.missed(self._since | self._last, until, self._delivered)
        try:
            run_id, seq, message = await anext(self._missed)
        except StopAsyncIteration:
            self._close_gap(until)
            return None
        except BaseException:
            self._missed = None  # it has ended; another one continues behind the delivered events
            raise
        self._delivered[run_id] = seq
        return self._parsed(message)

    def _close_gap(self, until: dict[int, SourceOffset]) -> None:
        for partition, place in until.items():
            self._last[partition] = max(place, self._last.get(partition, place))
        self._until = self._missed = None
        self._delivered = {}

    def _unseen(self, event: ExecutionEvent | None) -> ExecutionEvent | None:
        """The event, unless it was delivered before; one published by hand, or a replayed one, is
        always new.
        """
        if event is None or event.source is None or event.replayed:
            return event
        partition, *place = event.source
        if tuple(place) <= self._last.get(partition, NOWHERE):
            return None
        self._last[partition] = (place[0], place[1])
        return event

    def _parsed(self, message: bytes) -> ExecutionEvent | None:
        try:
            content = exact_json.decode(message)
            payload = content.get("payload") if isinstance(content, dict) else None
            return _events.validate_python(payload)
        except ValidationError as invalid:
            # Values may be private to users; only the places of the faults may be logged.
            wrong = [".".join(map(str, error["loc"])) for error in invalid.errors()]
        except (ValueError, ArithmeticError, RecursionError) as error:
            wrong = [type(error).__name__]
        self._counts.unparsable += 1
        log.error("not_an_event", bytes=len(message), wrong=wrong)
        return None
