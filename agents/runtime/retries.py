"""Errors that waiting may cure, and what is done again after them."""

import itertools
from collections.abc import Iterator

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
