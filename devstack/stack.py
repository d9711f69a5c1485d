"""The three servers as one unit to break, mend, describe and stop."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from signal import Signals
from typing import IO

from execstream.devstack import owner
from execstream.devstack.addresses import DESCRIPTION, Addresses
from execstream.devstack.password import write_private
from execstream.devstack.server import Server

RECORD = "running.json"


@dataclass
class Stack(Addresses):
    """Kafka, PostgreSQL and Redis, running for this process.

    Attributes:
        state: the directory that holds all their files.
        lock: held on the directory; closed when the stack is stopped.
    """

    state: Path
    lock: InitVar[IO[str]]
    _servers: dict[str, Server] = field(default_factory=dict, init=False, repr=False)
    _http_url: str | None = field(default=None, init=False)
    _worker_urls: dict[str, str] = field(default_factory=dict, init=False)
    _other_pids: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self, lock: IO[str]) -> None:
        self._lock = lock

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the servers that run, by name: kafka, postgres, redis."""
        return {name: server.pid for name, server in self._servers.items() if server.pid}

    def ended(self) -> list[str]:
        """Names of the servers that have ended although the stack was not stopped."""
        return [name for name, server in self._servers.items() if server.pid is None]

    async def bring_up(self, name: str, server: Server) -> None:
        """Make a server part of the stack; return when it answers.

        Raises:
            StackError: its port is taken, or it does not come up.
        """
        self._servers[name] = server
        server.spawn()
        self._note()
        await server.wait_ready()

    async def kill(self, name: str) -> None:
        """End one server with SIGKILL, as a fault would; return when it is gone."""
        await self._servers[name].kill()

    async def restart(self, name: str) -> None:
        """Start a server that has ended on its port and with its data; return when it answers.

        Raises:
            StackError: its port is taken, or it does not come up.
        """
        server = self._servers[name]
        if server.pid is None:
            await self.bring_up(name, server)
            self.announce(http_url=self._http_url, workers=self._worker_urls, pids=self._other_pids)

    def announce(
        self,
        *,
        http_url: str | None = None,
        workers: Mapping[str, str] | None = None,
        pids: Mapping[str, int] | None = None,
    ) -> None:
        """Write `stack.json`, which holds the password and is readable by its owner alone.

        Args:
            http_url: of the HTTP server that the owner runs beside the stack.
            workers: URLs of the owner's workers, by role.
            pids: of the owner's other processes; should the owner be killed, the next start
                in this directory ends them too.
        """
        self._http_url = http_url
        self._worker_urls = dict(workers or {})
        self._other_pids = dict(pids or {})
        description = {
            "kafka_bootstrap": self.kafka_bootstrap,
            "postgres_dsn": self.postgres_dsn,
            "redis_url": self.redis_url,
            "http_url": http_url,
            "workers": self._worker_urls,
            "pids": self.pids | self._other_pids,
        }
        write_private(self.state / DESCRIPTION, json.dumps(description, indent=2) + "\n")
        self._note()

    async def stop(self) -> None:
        """End the servers within 10 seconds, or at once when cancelled, and give the directory
        back; may be repeated."""
        (self.state / DESCRIPTION).unlink(missing_ok=True)
        try:
            async with asyncio.TaskGroup() as stopping:
                for server in self._servers.values():
                    stopping.create_task(server.stop())
        finally:
            self._servers.clear()
            (self.state / RECORD).unlink(missing_ok=True)
            self._lock.close()

    def _note(self) -> None:
        running = {
            server.pid: server.stop_signal for server in self._servers.values() if server.pid
        }
        others = dict.fromkeys(self._other_pids.values(), Signals.SIGTERM)
        owner.note(self.state / RECORD, running | others)
