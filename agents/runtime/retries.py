"""What to do when something fails: try again, or stop at once.

A worker is crash-only. What waiting may cure is retried by whoever met it; on everything else the
process logs and exits, and starting is recovering.
"""

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterator
from typing import Any, NoReturn

import asyncpg
import structlog
from aiokafka.errors import IllegalStateError, KafkaError

from execstream.agents.runtime.metrics import RETRIES

log = structlog.get_logger(__name__)

# Connection, transaction rollback (serialization, deadlock), resources, shutdown.
_CURABLE_SQLSTATES = ("08", "40", "53", "55", "57")


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _CURABLE_SQLSTATES
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
    )
    return isinstance(error, kinds)


def pauses() -> Iterator[float]:
    """Seconds to wait between tries, without end."""
    return itertools.chain((0.02, 0.05, 0.1, 0.2, 0.5), itertools.repeat(1.0))


def note_retry(what: str, error: BaseException) -> None:
    """Say and count that `what` failed and will be tried again."""
    log.warning("retry", what=what, error=repr(error)[:200])
    RETRIES.labels(what).inc()


def crash(reason: str, **context: Any) -> NoReturn:
    """Exit at once; whoever supervises this process starts it again."""
    log.critical("crash", reason=reason, **context)
    os._exit(70)


def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A background task that cannot fail silently: an unforeseen error ends the process."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_crash_on_error)
    return task


def _crash_on_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_failed", exc_info=error)
        crash(repr(error))
