"""Lifetime of this process: signals that end it, and its end when its parent is gone."""

import asyncio
import os
import signal
import threading
import time

PARENT_POLL = 1.0  # seconds


def begin_in_pool(parent: int) -> None:
    """Prepare a process of a pool that `parent` made: Ctrl-C is for that one, and this ends with
    it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def end_with(parent: int) -> None:
    """Have SIGTERM sent to this process once `parent`, which started it, is gone."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    os.kill(os.getpid(), signal.SIGTERM)


def cancel_on_sigterm() -> None:
    """From now on SIGTERM cancels the calling task, as Ctrl-C does by itself; its runner sees
    asyncio's CancelledError.
    """
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _this_task().cancel)


def stop_signals() -> asyncio.Future[int]:
    """Done when this process is asked to end: the exit code, 130 for Ctrl-C and 0 for SIGTERM.

    A second signal cancels the task that called this, which then stops waiting for the end.
    """
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()
    task = _this_task()

    def ask(code: int) -> None:
        if asked.cancelled():
            return  # Ctrl-C came just before this callback was installed, and asyncio heeds it
        if asked.done():
            task.cancel()
            return
        loop.remove_signal_handler(signal.SIGINT)
        asked.set_result(code)

    loop.add_signal_handler(signal.SIGINT, ask, 128 + signal.SIGINT)
    loop.add_signal_handler(signal.SIGTERM, ask, 0)
    return asked


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("Signals are heeded by a task.")
    return task
