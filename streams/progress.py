"""Progress reports of long work."""

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]  # the activity, the amount done, and the total
