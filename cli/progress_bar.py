"""Progress of long work: a bar at a terminal, else a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeRemainingColumn,
)

from execstream.cli.terminal import Text, err
from execstream.streams.progress import ProgressCallback

LINE_EVERY = 5.0  # seconds, where there is no terminal


class _What(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.description)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextmanager
def counted(*, quiet: bool = False) -> Iterator[ProgressCallback]:
    """Show on stderr the progress reported to the given function; nothing where `quiet`."""
    if quiet:
        yield lambda what, done, total: None  # noqa: ARG005 - named as callers read them
    elif err.is_terminal:
        with _bar() as report_progress:
            yield report_progress
    else:
        yield _Lines().report


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    columns = (
        _What(),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, speed_estimate_period=10.0) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


class _Lines:
    def __init__(self) -> None:
        self._what = ""
        self._begun = self._reported = time.monotonic()

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun = what, now
        if now - self._reported < LINE_EVERY:
            return
        self._reported = now
        line = f"{what}: {done:,} of {total:,}"
        if done and now > self._begun:
            rate = done / (now - self._begun)
            line += f", {rate:,.0f}/s, {(total - done) / rate:,.0f} s left"
        err.print(line, soft_wrap=True)
