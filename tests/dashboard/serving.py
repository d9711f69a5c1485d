"""A real server on a free port, in the event loop of the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from execstream.agents.config import WorkerConfig
from execstream.dashboard.config import DashboardConfig, Token
from execstream.dashboard.server import Server
from execstream.dashboard.services import CommandSender

PATIENCE = 20.0  # seconds
SECRET = "a-secret-of-the-tests"  # noqa: S105 - of the tests only


@asynccontextmanager
async def serving(config: DashboardConfig, sender: CommandSender) -> AsyncIterator[Server]:
    """A server; it takes connections at once, and must stop when it is told to."""
    server = Server(config, sender, "127.0.0.1", 0)
    running = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.stop()
        assert await asyncio.wait_for(running, PATIENCE)


@asynccontextmanager
async def site(
    config: DashboardConfig, sender: CommandSender, secret: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server of its own, with a token or without one."""
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with (
        serving(config, sender) as server,
        httpx.AsyncClient(base_url=server.url, headers=headers, timeout=PATIENCE) as http,
    ):
        yield http


def dashboard_config(config: WorkerConfig, *tokens: Token, **changes: Any) -> DashboardConfig:
    """Of a server beside workers of that configuration."""
    fields = {
        "kafka_bootstrap": config.kafka_bootstrap,
        "group_prefix": config.group_prefix,
        "postgres_dsn": config.postgres_dsn,
        "redis_url": config.redis_url,
        "topic_prefix": config.topic_prefix,
        "schema": config.schema,
        "redis_prefix": config.redis_prefix,
        "tokens": tokens,
    }
    return DashboardConfig(**fields | changes)
