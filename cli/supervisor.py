"""Keeping workers running: one child process per role, started again when it ends.

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
from typing import IO, Self

import structlog

from execstream.config.process_lifetime import end_with
from execstream.config.settings import SUPERVISOR, Settings

ROLES = ("apply", "tally", "bridge")
WORKER = "worker-"  # stands before a role, among names of processes
SERVER = "http"  # the one that is no worker

FIRST_PAUSE = 0.2  # seconds before a restart, doubled while it keeps ending
LONGEST_PAUSE = 5.0  # seconds
STABLE_AFTER = 10.0  # seconds after which an end is a new matter
STOP_WITHIN = 10.0  # seconds between SIGTERM and SIGKILL


log = structlog.get_logger(__name__)


class Supervisor:
    """Runs `execstream worker --role …` for each role while its context lasts; for the role
    SERVER it is `execstream serve`.

    With `logs`, a directory, each role writes to a file there; else to this process's stderr.
    `announce` is told the process ids by role, at the start and whenever they change.
    """

    def __init__(
        self,
        settings: Settings,
        roles: Iterable[str] = ROLES,
        logs: Path | None = None,
        announce: Callable[[Mapping[str, int]], None] = lambda _: None,
    ) -> None:
        self._roles = tuple(roles)
        check_installed(self._roles)
        self._environment = os.environ | settings.environment() | {SUPERVISOR: str(os.getpid())}
        self._logs = logs
        self._announce = announce
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for role in self._roles:
            await self._start(role)
        self._announce_pids()
        self._keepers = [asyncio.create_task(self._keep(role)) for role in self._roles]
        return self

    async def __aexit__(self, *_: object) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(_stop(child) for child in self._children.values()))

    async def _start(self, role: str) -> None:
        with self._log_of(role) as file:
            self._children[role] = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "execstream", *_command(role)),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the supervisor, which tells its children
            )

    def _log_of(self, role: str) -> IO[bytes]:
        if self._logs is None:
            return os.fdopen(os.dup(sys.stderr.fileno()), "wb")
        self._logs.mkdir(parents=True, exist_ok=True)
        return _log_file(self._logs, role).open("ab")

    async def _keep(self, role: str) -> None:
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            code = await self._children[role].wait()
            if time.monotonic() - started > STABLE_AFTER:
                pause = FIRST_PAUSE
            why = {} if self._logs is None else {"log": str(_log_file(self._logs, role))}
            log.warning("worker.ended", role=role, exit_code=code, restart_in=pause, **why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._start(role)
            self._announce_pids()

    def _announce_pids(self) -> None:
        self._announce({role: child.pid for role, child in self._children.items()})


def check_installed(roles: Iterable[str] = ROLES) -> None:
    """Raises ModuleNotFoundError where processes of `roles` would, each time they are started."""
    for role in roles:
        needed = "uvicorn" if role == SERVER else "faust"
        if find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named {needed!r}", name=needed)


def process_name(role: str) -> str:
    """What the process of a role is called among others."""
    return role if role == SERVER else f"{WORKER}{role}"


def _log_file(logs: Path, role: str) -> Path:
    return logs / f"{process_name(role)}.log"


def _command(role: str) -> tuple[str, ...]:
    return ("serve",) if role == SERVER else ("worker", "--role", role)


async def _stop(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_WITHIN)
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def end_with_supervisor() -> None:
    """In a child: have SIGTERM sent to this process once its supervisor is gone."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None:
        end_with(int(supervisor))
