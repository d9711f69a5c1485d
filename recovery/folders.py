"""Folders that outlive a crash: their names are on the disk, and one process at a time writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from execstream.streams.errors import Fatal

_LOCK = "lock"


class FolderInUse(Fatal):
    """Another process writes to the folder."""


def make_folder(folder: Path) -> None:
    """Make `folder`, with those above it, on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Write to `folder` alone, of all processes that see it; it is made. Raises FolderInUse."""
    make_folder(folder)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"Another process writes to {folder}.") from None
        yield
