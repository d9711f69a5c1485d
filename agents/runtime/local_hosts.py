"""The check of `Host` at the ports of workers.

A worker that listens on loopback answers loopback's names only: otherwise a web page, under a name
of its own that leads to this machine, could read the worker's answers.
"""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from yarl import URL

from execstream.config.settings import is_loopback

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PROBLEM = {
    "type": "about:blank",
    "title": HTTPStatus.MISDIRECTED_REQUEST.phrase,
    "status": HTTPStatus.MISDIRECTED_REQUEST,
    "detail": "This worker answers to localhost only: set EXECSTREAM_WORKER_HOST to let others in.",
}


def answer_local_hosts(worker_host: str) -> Any:
    """Return a middleware that refuses other names where `worker_host` is loopback."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_loopback(worker_host) and not is_loopback(URL(f"//{request.host}").host or ""):
            return web.Response(
                body=json.dumps(_PROBLEM).encode(),
                status=HTTPStatus.MISDIRECTED_REQUEST,
                content_type="application/problem+json",
            )
        return await handler(request)

    return check
