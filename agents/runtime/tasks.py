"""Background tasks, and the end of the process when one of them fails.

A worker is crash-only: on an error that waiting does not cure it logs and exits, and starting is
recovering.
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, NoReturn

import structlog

from execstream.streams.errors import reason_of

log = structlog.get_logger(__name__)


def crash(reason: str, **context: Any) -> NoReturn:
    """Exit at once; the supervisor of this process starts it again."""
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
        crash(reason_of(error))
