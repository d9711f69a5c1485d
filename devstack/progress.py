"""Progress of a download: a bar at a terminal, a sentence now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bar

# Called with (files done, files in all).
Progress = Callable[[int, int], None]

FILES_PER_SENTENCE = 10


@contextmanager
def shown(what: str, report: Callable[[str], None]) -> Iterator[Progress]:
    """Show the progress of fetching something for as long as the context lasts."""
    if not sys.stderr.isatty():
        yield _sentences(what, report)
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _sentences(what: str, report: Callable[[str], None]) -> Progress:
    def progress(done: int, total: int) -> None:
        if done % FILES_PER_SENTENCE == 0 or done == total:
            report(f"{what}: {done} of {total} files.")

    return progress
