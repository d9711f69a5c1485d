"""One owner per state directory at a time, and an end to the processes that a killed owner left.

The lock is the kernel's (flock), so that it goes with its process however that ends. Processes of
the owner are noted by process id and start time, since ids are used again.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import IO

import psutil

from execstream.devstack.errors import StackError
from execstream.devstack.processes import family_of, is_alive, kill

# Start times are computed from the boot time, which moves a little when the clock is set.
START_TIME_TOLERANCE = 2.0  # seconds
GRACE = 8.0  # seconds a leftover has to end by itself
POLL_INTERVAL = 0.03  # seconds


def acquire(path: Path) -> IO[str]:
    """Take the lock of a state directory; closing the returned file gives it back.

    Raises:
        StackError: a live process holds it.
    """
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read()
        lock.close()
        raise StackError(
            f"The stack in {path.parent} is already running, owned by process {owner}: "
            "use that one, or end it first."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def note(path: Path, running: Mapping[int, Signals]) -> None:
    """Note the processes that run for a state directory and the signal on which each ends.

    The file is replaced in one step: a kill here leaves the old one or the new one.
    """
    noted = []
    for pid, stop_signal in running.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(pid).create_time()
            noted.append({"pid": pid, "started": started, "stop_signal": stop_signal})
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(noted))
    draft.replace(path)


def end_orphans(path: Path) -> int:
    """End the noted processes that still run, with their children; return their number."""
    orphans = _noted_and_alive(path)
    families = [member for process, _ in orphans for member in family_of(process.pid)]
    for process, stop_signal in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)
    give_up_at = time.monotonic() + GRACE
    while any(map(is_alive, families)) and time.monotonic() < give_up_at:
        time.sleep(POLL_INTERVAL)
    kill(families)
    while any(map(is_alive, families)):
        time.sleep(POLL_INTERVAL)
    path.unlink(missing_ok=True)
    return len(orphans)


def _noted_and_alive(path: Path) -> list[tuple[psutil.Process, Signals]]:
    if not path.exists():
        return []
    found = []
    for entry in json.loads(path.read_text()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(entry["pid"])
            same = abs(process.create_time() - entry["started"]) < START_TIME_TOLERANCE
            if same and is_alive(process):
                found.append((process, Signals(entry["stop_signal"])))
    return found
