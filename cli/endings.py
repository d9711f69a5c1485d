"""The end of the program: when its reader has gone, and on Ctrl-C, without a traceback."""

import asyncio
import os
import select
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

READER_GONE = 128 + signal.SIGPIPE
INTERRUPTED = 128 + signal.SIGINT


def end_without_reader() -> NoReturn:
    """End silently with exit code 141, as programs do that SIGPIPE ends.

    SIGPIPE itself stays ignored: it would also end a process when a server closes a connection.
    """
    # The rest of a buffer must not fail again when Python ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(READER_GONE)


def reader_has_gone() -> bool:
    """Return whether the reader of our output has gone, rather than a server."""
    outputs = select.poll()
    for stream in (sys.stdout, sys.stderr):
        outputs.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in outputs.poll(0))


def end_at_once_on_interrupt() -> None:
    """From now on Ctrl-C ends this process at once: there is nothing to tidy up."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_interrupt() -> None:
    """Have Ctrl-C raise KeyboardInterrupt, or cancel the task of `asyncio.run`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


async def without_reports_of_cut_connections(command: Coroutine[Any, Any, Any]) -> Any:
    """Await a command; once it is cancelled, asyncio reports no connection error that is left over.

    asyncpg, cancelled between a connection and its TLS, leaves a future that nobody awaits.
    """
    task = asyncio.current_task()

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        is_left_over = isinstance(context.get("exception"), ConnectionError)
        if not (is_left_over and task is not None and task.cancelling()):
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(report)
    return await command
