"""A real server on a free port, in the event loop of the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from execstream.config.settings import Settings
from execstream.dashboard.server import Server
from execstream.dashboard.services import CommandSender

PATIENCE = 20.0  # seconds
SECRET = "a-secret-of-the-tests"  # noqa: S105 - of the tests only


@asynccontextmanager
async def serving(settings: Settings, sender: CommandSender) -> AsyncIterator[Server]:
    """A server; it takes connections at once, and must stop when it is asked to."""
    server = Server(settings, sender, "127.0.0.1", 0)
    running = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.stop()
        assert await asyncio.wait_for(running, PATIENCE)


@asynccontextmanager
async def site(
    settings: Settings, sender: CommandSender, secret: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server of its own, with a token or without one."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with (
        serving(settings, sender) as server,
        httpx.AsyncClient(base_url=server.url, headers=headers, timeout=PATIENCE) as http,
    ):
        yield http
