"""The end of the program: when its reader has gone, and on Ctrl-C, without a traceback."""

import os
import select
import signal
import sys
from typing import NoReturn

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
