"""Worker processes under supervision: whatever ends is started again at once."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

import msgspec

from execstream.config.settings import Settings
from tests.faults.points import DIED, Plan

PROJECT = Path(__file__).parents[2]
TERMINATION = 10.0  # seconds a worker has to end after SIGTERM
PAUSE = 0.2  # seconds before a worker that ended is started again
LAST_WORDS = 600  # characters of a log

# How we end workers, and how they end at a point; any other end is the worker's own.
PLANNED = (-SIGKILL, DIED)


@dataclass
class Worker:
    """One process at a time. `plans`: of the next start, the one after it and so on; then none."""

    role: str
    settings: Settings
    log: Path
    plans: Iterator[Plan] = field(default_factory=lambda: iter(()))
    variables: dict[str, str] = field(default_factory=dict)  # of its environment, beside others
    within: tuple[str, ...] = ()  # a program that runs the given one, with its arguments
    starts: int = 0
    unplanned: list[str] = field(default_factory=list)  # ends, with the last words
    _process: asyncio.subprocess.Process | None = None
    _supervision: asyncio.Task[None] | None = None
    _terminating: bool = False
    _log_begins: int = 0  # of the process that runs now

    def begin(self) -> None:
        self._supervision = asyncio.create_task(self._supervise())
        self._supervision.add_done_callback(self._unsupervised)

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    def strike(self, signal: Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal)

    def kill(self) -> None:
        self.strike(SIGKILL)

    def freeze(self) -> None:
        self.strike(SIGSTOP)

    def thaw(self) -> None:
        self.strike(SIGCONT)

    async def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code and after how many seconds it came."""
        process = self._process
        assert process is not None
        begun = time.monotonic()
        self._terminating = True
        self.strike(SIGTERM)
        try:
            code = await asyncio.wait_for(process.wait(), TERMINATION)
        except TimeoutError:
            self.kill()
            code = await process.wait()
        self._terminating = False
        return code, time.monotonic() - begun

    async def stop(self) -> tuple[int, float]:
        """SIGTERM for good."""
        await self._leave_alone()
        return await self.terminate()

    async def abandon(self) -> None:
        """SIGKILL for good."""
        await self._leave_alone()
        if self._process is not None:
            self.kill()
            await self._process.wait()

    async def _leave_alone(self) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])

    @property
    def is_working(self) -> bool:
        """Return whether the process that runs now owns partitions."""
        return b'"event": "owns"' in self.log.read_bytes()[self._log_begins :]

    def told(self) -> Counter[str]:
        """The number of each event in its logs; injected faults by point."""
        said: Counter[str] = Counter()
        if not self.log.exists():
            return said
        for line in self.log.read_bytes().splitlines():
            if line.startswith(b"{"):
                entry = msgspec.json.decode(line)
                said[entry.get("point") or entry["event"]] += 1
        return said

    async def _supervise(self) -> None:
        while True:
            await self._start(next(self.plans, {}))
            assert self._process is not None
            code = await self._process.wait()
            if code not in PLANNED and not (self._terminating and code == 0):
                self.unplanned.append(f"{self.role} ended with {code}: {self._last_words()}")
            await asyncio.sleep(PAUSE)

    def _command(self, plan: Plan) -> tuple[str, ...]:
        """Arguments of Python."""
        plan_text = msgspec.json.encode(plan).decode()
        return ("-m", "tests.faults.crashing_worker", self.role, plan_text)

    async def _start(self, plan: Plan) -> None:
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(*self.within, sys.executable, *self._command(plan)),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env={
                    **os.environ,
                    **self.settings.environment(),
                    "PYTHONPATH": str(PROJECT),
                    **self.variables,
                },
            )
        self.starts += 1

    def _unsupervised(self, supervision: asyncio.Task[None]) -> None:
        if not supervision.cancelled():
            self.unplanned.append(f"{self.role} is not started again: {supervision.exception()!r}")

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-LAST_WORDS:].strip()
