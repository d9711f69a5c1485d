"""One server process: spawned in a session of its own, watched until ready, ended.

A session of its own keeps Ctrl-C at the terminal from reaching the server before its owner
has stopped using it.
"""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from execstream.devstack.errors import StackError
from execstream.devstack.ports import require_free
from execstream.devstack.processes import family_of, identity, is_alive, kill

POLL_INTERVAL = 0.03  # seconds
READY_TIMEOUT = 60.0  # seconds; a loaded machine may need many times the usual 4
STOP_TIMEOUT = 9.0  # seconds


@dataclass
class Server:
    """The description of one server process.

    Attributes:
        name: its common name, for messages.
        command: argument vector of the process.
        ports: TCP ports on loopback that it will listen on.
        log: file that gets its output.
        is_ready: returns whether it answers clients; called until it does.
        stop_signal: the signal on which it ends in good order, without waiting for clients.
        user: system user to run as, or None for our own.
        directory: the working directory.
    """

    name: str
    command: list[str]
    ports: tuple[int, ...]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    stop_signal: Signals = Signals.SIGTERM
    user: str | None = None
    directory: Path = Path("/")
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Process id while the server runs, else None."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def spawn(self) -> None:
        """Start the process.

        Raises:
            StackError: one of its ports is taken.
        """
        for port in self.ports:
            require_free(port, self.name)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.directory,
                **identity(self.user),
            )

    async def wait_ready(self) -> None:
        """Return once the server answers clients.

        Raises:
            StackError: it ended before, or took longer than `READY_TIMEOUT`.
        """
        give_up_at = time.monotonic() + READY_TIMEOUT
        while not await self.is_ready():
            if self.pid is None:
                raise StackError(f"{self.name} ended while starting: {self._last_words()}")
            if time.monotonic() > give_up_at:
                raise StackError(
                    f"{self.name} did not answer within {READY_TIMEOUT:.0f} seconds: "
                    f"{self._last_words()}"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def stop(self) -> None:
        """End the server in good order, or by force after `STOP_TIMEOUT` or when cancelled."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            await _until(lambda: self.pid is None, STOP_TIMEOUT)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End the server and its children with SIGKILL; return when they are gone."""
        pid = self.pid
        if pid is None:
            return
        # PostgreSQL does not come back while a backend of the killed one is still there.
        family = family_of(pid)
        kill(family)
        await _until(lambda: self.pid is None and not any(map(is_alive, family)), STOP_TIMEOUT)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it wrote nothing"
        return f"{last} (more in {self.log})"


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when the condition holds, or after so many seconds all the same."""
    give_up_at = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up_at:  # noqa: ASYNC110 - no event signals it
        await asyncio.sleep(POLL_INTERVAL)
