"""The HTTP server: the application on a socket, until it is stopped."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from execstream.config.settings import Settings
from execstream.dashboard.app import build_app
from execstream.dashboard.connections import BoundedConnection
from execstream.dashboard.services import CommandSender
from execstream.streams.errors import Fatal

STOP_WITHIN = 5  # seconds for requests in progress
BACKLOG = 2048  # connections that wait to be taken: all browsers come back at once

_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listening there is asked for

log = structlog.get_logger(__name__)


class PortTaken(Fatal):
    """Another process listens there."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"Nothing can listen at {host}:{port} ({error.strerror}): name another with --port, or "
            "0 for a free one."
        )


def url_of(host: str, port: int) -> str:
    """The URL at which this machine reaches a server on that host and port."""
    reached = _LOOPBACK_OF.get(host, host)
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"


class Server:
    """One server. `url` is where it answers."""

    def __init__(self, settings: Settings, sender: CommandSender, host: str, port: int) -> None:
        """Takes the port (0: a free one). Raises PortTaken."""
        self._socket = _listen(host, port)
        self.url = url_of(host, self._socket.getsockname()[1])
        self._has_failed = False
        self._app = build_app(settings.model_copy(update={"http_host": host}), sender, self._fail)
        self._server = _Uvicorn(self._app)

    async def run(self) -> bool:
        """Serve until `stop`, or until it cannot continue; return whether it was `stop`."""
        await self._server.serve([self._socket])
        return self._server.started and not self._has_failed

    def stop(self) -> None:
        """Have `run` return, once open requests are answered and streams are ended."""
        self._server.should_exit = True

    def _fail(self) -> None:
        self._has_failed = True
        self.stop()


class _Uvicorn(uvicorn.Server):
    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedConnection,
                ws="none",
                lifespan="on",
                log_config=None,  # logging is set up already
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_WITHIN,
            )
        )
        self._app = app

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The program that runs the server handles signals."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams first: they would last until the patience is over."""
        self._app.state.services.feed.end_streams()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTaken(host, port, error) from error
    return listening
