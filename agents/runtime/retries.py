"""Transient errors, which waiting may cure: their kinds, and attempts repeated after one.

`waiting` has the activities that this process waits for now, and why: `/readyz` reports it.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import asyncpg
import structlog
from aiokafka.errors import IllegalStateError, KafkaError
from redis.exceptions import RedisError

from execstream.agents.runtime.metrics import RETRIES
from execstream.storage.connections import READ_ONLY, Session, sqlstate
from execstream.streams.errors import reason_of

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

# Connection, transaction rollback (serialization, deadlock), resources, shutdown.
_CURABLE_SQLSTATES = ("08", "40", "53", "55", "57")


class Waiting(NamedTuple):
    """Why work is tried again; `since` by `time.monotonic`."""

    since: float
    reason: str


waiting: dict[str, Waiting] = {}
"""Work that failed at its last attempt, by the name that the log has for it."""


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help."""
    if isinstance(error, asyncpg.PostgresError):
        state = sqlstate(error)
        return state[:2] in _CURABLE_SQLSTATES or state == READ_ONLY
    if isinstance(error, ValueError):  # asyncpg's own DataError is an InterfaceError as well
        return False
    # InternalClientError: Postgres was killed under a query. IllegalStateError: a partition was
    # taken away in the middle of a call about it.
    kinds = (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        KafkaError,
        IllegalStateError,
        RedisError,
    )
    return isinstance(error, kinds)


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts, without end."""
    return itertools.chain((0.02, 0.05, 0.1, 0.2, 0.5), itertools.repeat(1.0))


async def retrying(
    what: str, attempt: Callable[[], Awaitable[Answer]], session: Session | None = None
) -> Answer:
    """Return the answer of `attempt`, repeated after a pause while it fails with a transient error.

    `session`: the connection to Postgres that it uses, reopened after a failure. An attempt that
    has become pointless meanwhile returns a value for that, or raises an error of its own.
    """
    waits = pauses()
    try:
        while True:
            try:
                return await attempt()
            except Exception as error:
                if not is_transient(error):
                    raise
                note_retry(what, error, session)
            await asyncio.sleep(next(waits))
    finally:
        waiting.pop(what, None)


@contextmanager
def tolerating(what: str, session: Session | None = None) -> Iterator[None]:
    """Suppress a transient error of work that is repeated later anyway."""
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        note_retry(what, error, session)
    else:
        waiting.pop(what, None)


@contextmanager
def ignoring_transient() -> Iterator[None]:
    """Suppress a transient error of a look that is repeated in a moment, without a trace."""
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise


def note_waiting(what: str, error: Exception) -> str:
    """Record that `what` failed and is retried; return the reason."""
    reason = reason_of(error)
    before = waiting.get(what)
    waiting[what] = Waiting(time.monotonic() if before is None else before.since, reason)
    return reason


def forget_waiting(what: str) -> None:
    """Record that `what` is not retried any more."""
    waiting.pop(what, None)


def note_retry(what: str, error: Exception, session: Session | None) -> None:
    """Log and count a failure of `what`, and drop the connection it may have spoilt."""
    log.warning("retry", what=what, error=note_waiting(what, error))
    RETRIES.labels(what).inc()
    # An error of Redis does not affect the connection to Postgres.
    if session is not None and not isinstance(error, RedisError):
        session.terminate()
