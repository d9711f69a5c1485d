"""Means that some faults need, and not every machine has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.debian import install

_FAKETIME = "faketime/libfaketime.so.1"
_GROUPS = Path("/sys/fs/cgroup")


class Unavailable(Exception):
    """A fault cannot be done on this machine; the message is the reason."""


def require_root() -> None:
    """Raise Unavailable for other users."""
    if os.geteuid() != 0:
        raise Unavailable("only root can")


def faketime() -> str:
    """Path of libfaketime, which is installed if it is missing."""
    found = [*Path("/usr/lib").glob(f"*/{_FAKETIME}"), *Path("/usr/lib").glob(_FAKETIME)]
    if not found:
        complaint = install("libfaketime")
        found = [*Path("/usr/lib").glob(f"*/{_FAKETIME}")]
        if not found:
            raise Unavailable(f"libfaketime is missing: {complaint}")
    return str(found[0])


@contextmanager
def memory_limit(pid: int, limit: int) -> Iterator[Path]:
    """Limit the memory that a process may take from now on, in bytes, by a control group.

    Yields the file in which the kernel counts its kills.
    """
    require_root()
    is_first_version = (_GROUPS / "memory").is_dir()
    parent = _GROUPS / "memory" if is_first_version else _GROUPS
    group = parent / f"execstream-{uuid4().hex[:8]}"
    names = (
        ("memory.limit_in_bytes", "memory.oom_control")
        if is_first_version
        else ("memory.max", "memory.events")
    )
    try:
        group.mkdir()
    except OSError as error:
        raise Unavailable(f"no control group can be made: {error.strerror}") from error
    try:
        if not (group / names[0]).exists():
            raise Unavailable("control groups here have no limit of memory")
        (group / "cgroup.procs").write_text(str(pid))
        (group / names[0]).write_text(str(limit))
        yield group / names[1]
    finally:
        group.rmdir()
