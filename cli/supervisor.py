"""Keeping workers running: each a child process, started again when it ends.

Workers are crash-only: on anything unforeseen they exit, and starting is recovering. A child
that finds itself without its supervisor, which was killed, ends itself.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple, Self

import structlog

from execstream.config.process_lifetime import end_with
from execstream.config.settings import SUPERVISOR, Settings
from execstream.config.tasks import end

ROLES = ("apply", "tally", "bridge")
WORKER = "worker-"  # stands before a role, among names of processes
SERVER = "http"  # the one that is not a worker

FIRST_PAUSE = 0.2  # seconds before a restart, doubled while it keeps ending
LONGEST_PAUSE = 5.0  # seconds
STABLE_AFTER = 10.0  # seconds after which an end is a new matter
STOP_WITHIN = 10.0  # seconds between SIGTERM and SIGKILL
STOP_WITHIN_CHILD = 8.0  # the same for children of a child, which has to outlive them


log = structlog.get_logger(__name__)


class Child(NamedTuple):
    """A process that is kept running: `execstream` with `arguments`, and `variables` beside those
    of the settings. `number`: its number within the role, if there are several.
    """

    role: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str] = {}
    number: int | None = None

    @property
    def name(self) -> str:
        return self.role if self.number is None else f"{self.role}-{self.number}"


def child_of(role: str) -> Child:
    """`execstream worker --role …`, or `execstream serve` for the role SERVER."""
    return Child(role, ("serve",) if role == SERVER else ("worker", "--role", role))


class Supervisor:
    """Runs its children while its context lasts.

    With `logs`, a directory, each child writes to a file there; else to this process's stderr.
    `announce` is called with the process ids by name, at the start and whenever they change.
    """

    def __init__(
        self,
        settings: Settings,
        children: Iterable[Child] = tuple(map(child_of, ROLES)),
        logs: Path | None = None,
        announce: Callable[[Mapping[str, int]], None] = lambda _: None,
    ) -> None:
        self._kept = tuple(children)
        check_installed({child.role for child in self._kept})
        self._stop_within = STOP_WITHIN_CHILD if SUPERVISOR in os.environ else STOP_WITHIN
        self._environment = os.environ | settings.environment() | {SUPERVISOR: str(os.getpid())}
        self._logs = logs
        self._announce = announce
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for child in self._kept:
            await self._start(child)
        self._announce_pids()
        self._keepers = [asyncio.create_task(self._keep(child)) for child in self._kept]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(*self._keepers)
        await asyncio.gather(*map(self._stop, self._processes.values()))

    def kill(self, name: str) -> None:
        """Send SIGKILL to a child, as a fault would; it is started again."""
        with suppress(ProcessLookupError):  # it has ended, and will be
            self._processes[name].kill()

    async def _start(self, child: Child) -> None:
        with self._log_of(child) as file:
            self._processes[child.name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "execstream", *child.arguments),
                env={**self._environment, **child.variables},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its children
            )

    def _log_of(self, child: Child) -> IO[bytes]:
        if self._logs is None:
            return os.fdopen(os.dup(sys.stderr.fileno()), "wb")
        self._logs.mkdir(parents=True, exist_ok=True)
        return _log_file(self._logs, child).open("ab")

    async def _keep(self, child: Child) -> None:
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            code = await self._processes[child.name].wait()
            if time.monotonic() - started > STABLE_AFTER:
                pause = FIRST_PAUSE
            why = {} if self._logs is None else {"log": str(_log_file(self._logs, child))}
            which = {} if child.number is None else {"process": child.number}
            log.warning(
                "worker.ended",
                role=child.role,
                exit_code=code,
                restart_in=pause,
                **which,
                **why,
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._start(child)
            self._announce_pids()

    def _announce_pids(self) -> None:
        self._announce({name: process.pid for name, process in self._processes.items()})

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_within)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def check_installed(roles: Iterable[str] = ROLES) -> None:
    """Raises ModuleNotFoundError where processes of `roles` would, each time they are started."""
    for role in roles:
        needed = "uvicorn" if role == SERVER else "faust"
        if find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named {needed!r}", name=needed)


def process_name(role: str) -> str:
    """The name of the process of a role among others."""
    return role if role == SERVER else f"{WORKER}{role}"


def _log_file(logs: Path, child: Child) -> Path:
    return logs / f"{process_name(child.name)}.log"


def end_with_supervisor() -> None:
    """Have SIGTERM sent to this process, a child, once its supervisor is gone."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None:
        end_with(int(supervisor))
