"""What holds for every answer: security headers, and being counted."""

import time
from typing import Any

from starlette.datastructures import MutableHeaders
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


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", REVALIDATE if "etag" in headers else "no-store")


def route_of(scope: Scope) -> str:
    """The template of the route that a request came to, which tells nothing of who sent it."""
    route: Any = scope.get("route")
    return getattr(route, "path", "") or "page"  # files of the page have no route of their own


def _count(scope: Scope, status: int, seconds: float) -> None:
    path = route_of(scope)
    metrics.REQUESTS.labels(scope["method"], path, status).inc()
    metrics.REQUEST_SECONDS.labels(path).observe(seconds)
