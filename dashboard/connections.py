"""Connections with bounds on the cost of each, for any client.

h11 parses requests, since it bounds the bytes of an incomplete one. A request that arrives too
slowly, and an answer that its reader does not take, end their connection, sooner where others wait
for their turn at large requests. Where there are too many
connections, the one that has waited longest for a request makes room.
"""

import asyncio
import resource
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from execstream.dashboard.problems import RETRY_AFTER, problem

MAX_CONNECTIONS = 3_000
RESERVED_FILES = 256  # file descriptors for everything except connections of clients
MAX_HEADER_BYTES = 16 * 1024  # of the request line and all header lines
MAX_HEADERS = 100
HEADERS_WITHIN = 10.0  # seconds until the headers of a request are complete
BODY_WITHIN = 30.0  # seconds until its body is complete
STALLED_AFTER = 30.0  # seconds in which a reader takes nothing of its answer
PROGRESS = 64 * 1024  # bytes of a body; of an answer, the bytes that a transport buffers

_REFUSALS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"Send at most {MAX_HEADERS} header lines and {MAX_HEADER_BYTES} bytes of headers."
    ),
    HTTPStatus.BAD_REQUEST: "The request is not valid HTTP/1.1: send it with an HTTP client.",
}


class BoundedConnection(H11Protocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # `request.state.connection` of each request
        super().__init__(config, server_state, app_state | {"connection": self}, _loop)
        self.conn = self._parser = _BoundedParser()
        self.waiting_since: float | None = None  # loop time; None during a request
        self._request: tuple[object, object] | None = None
        self._paused_since: float | None = None
        self._moved_at = self.loop.time()
        self._received = 0  # bytes since
        self._arrival = _Timer(self.loop)
        self._departure = _Timer(self.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, in the place of an idle one where there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type] # TCP gives no other
        if len(self.connections) > _max_connections() and not self._evict():
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many connections are open: try again.",
                RETRY_AFTER,
            )
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._arrival.cancel()
        self._departure.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        self._received += len(data)
        if self._received >= PROGRESS:
            self._move()
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence has no way out
        """Answer a request that cannot be parsed."""
        status = HTTPStatus(self._parser.refusal)
        self._refuse(status, _REFUSALS.get(status, _REFUSALS[HTTPStatus.BAD_REQUEST]))

    def pause_writing(self) -> None:
        """Wait for the reader, but not for ever."""
        super().pause_writing()
        self._paused_since = self.loop.time()
        self._departure.start(STALLED_AFTER, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        self._departure.cancel()
        self._paused_since = None
        super().resume_writing()

    @property
    def waits_since(self) -> float | None:
        """The loop's time since when the server waits for PROGRESS; None: it does not."""
        if self.transport.is_closing():
            return None
        is_receiving = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        return self._moved_at if is_receiving else self._paused_since

    def give_way(self) -> None:
        """End the request, since others wait for its place."""
        if self.conn.their_state is h11.SEND_BODY:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body stalled while others waited.")
        else:
            self.cut()

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _move(self) -> None:
        self._moved_at = self.loop.time()
        self._received = 0

    def _watch(self) -> None:
        """Time the part that the client still has to send: headers, a body, or nothing."""
        if self.transport.is_closing():
            return
        request = (self.cycle, self.conn.their_state)
        if request == self._request:
            return
        self._request = request
        self._arrival.cancel()
        self.waiting_since = None
        if self.conn.their_state is h11.IDLE:
            self.waiting_since = self.loop.time()
            self._arrival.start(HEADERS_WITHIN, self._give_up)
        elif self.conn.their_state is h11.SEND_BODY:
            self._move()
            self._arrival.start(BODY_WITHIN, self._give_up)

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # nothing was asked
            return
        within = HEADERS_WITHIN if self.conn.their_state is h11.IDLE else BODY_WITHIN
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The request did not arrive within {within:g} s: send it again.",
        )

    def _evict(self) -> bool:
        """Abort the connection that has waited longest for a request; False if none waits."""
        waiting = {
            since: one
            for one in self.connections
            if isinstance(one, BoundedConnection) and (since := one.waiting_since) is not None
        }
        if not waiting:
            return False
        waiting[min(waiting)].transport.abort()
        return True

    def _refuse(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        """Answer with a problem and close; cut the answer in progress, if there is one."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        answer = problem(status, detail, {"Connection": "close"} | (headers or {}))
        lines = [b"%b: %b\r\n" % pair for pair in answer.raw_headers]
        start = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        self.transport.write(b"".join([start, *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()


class _BoundedParser(h11.Connection):
    """The parser of a connection.

    Attributes:
        refusal: the status that answers a request which cannot be parsed.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self.refusal = int(HTTPStatus.BAD_REQUEST)

    def next_event(self) -> Any:
        """Like h11, which bounds incomplete headers; here complete ones are bounded too."""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_headers(event)
        except h11.RemoteProtocolError as error:
            self.refusal = error.error_status_hint
            raise
        return event


def _check_headers(request: h11.Request) -> None:
    size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    if size > MAX_HEADER_BYTES or len(request.headers) > MAX_HEADERS:
        raise h11.RemoteProtocolError(
            "too many headers", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )


class _Timer:
    """Something to do later, at most once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, delay: float, act: Callable[[], None]) -> None:
        self.cancel()
        self._handle = self._loop.call_later(delay, act)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _max_connections() -> int:
    """The number of connections that the limit of open files allows."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MAX_CONNECTIONS if files == resource.RLIM_INFINITY else files - RESERVED_FILES
    return max(1, min(MAX_CONNECTIONS, allowed))
