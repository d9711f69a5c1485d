"""Reads of runs, steps, key-values and figures; each takes the pool of `execstream.connect`."""

from execstream.storage import reads
from execstream.storage.reads import *  # noqa: F403 - the names are listed once, in their package

__all__: list[str] = []
__all__ += reads.__all__
