"""Middleware for every request: security headers, counters, and a bounded body."""

import asyncio
import time
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from execstream.dashboard import metrics

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

MAX_BODY = 4096  # bytes
COMMANDS_PATH = "/v1/commands"

# May be kept, but is asked for again: ETags make that cheap.
REVALIDATE = "private, no-cache"


class EveryAnswer:
    """Adds headers where they are missing, and counts requests by route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or whatever else a server sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
                _count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BoundedBodies:
    """Refuses bodies over MAX_BODY bytes.

    Routes that accept a larger one read it themselves: FastAPI reads a body before it authenticates
    the sender.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] == COMMANDS_PATH:
            await self._app(scope, receive, send)
            return
        size = 0

        async def receive_bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send a body of {MAX_BODY} bytes at most."
                )
            return message

        await self._app(scope, receive_bounded, send)


class HeadRequests:
    """Answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        has_started = asyncio.Event()

        async def receive_until_start() -> Message:
            await has_started.wait()
            return {"type": "http.disconnect"}  # ends a stream

        async def send_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})
                has_started.set()

        await self._app({**scope, "method": "GET"}, receive_until_start, send_start)


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    etag = headers.get("etag", "")
    if "content-encoding" in headers and etag.startswith('"'):
        headers["etag"] = f"W/{etag}"  # the same content, in other bytes
    headers.setdefault("Cache-Control", REVALIDATE if "etag" in headers else "no-store")


def route_of(scope: Scope) -> str:
    """The template of a request's route, which names no sender."""
    route: Any = scope.get("route")
    return getattr(route, "path", "") or "page"  # files of the page have no route of their own


def _count(scope: Scope, status: int, seconds: float) -> None:
    path = route_of(scope)
    metrics.REQUESTS.labels(scope["method"], path, status).inc()
    metrics.REQUEST_SECONDS.labels(path).observe(seconds)
