"""How long work tells how far it is."""

from collections.abc import Callable

ProgressCallback = Callable[
    [str, int, int], None
]  # what is being done, how much of it is done, of how much
