"""`execstream serve`: the page, the read API and the live feed."""

import asyncio
from typing import Any

from execstream.cli.common import Json, Port, print_json, require_sessions, start
from execstream.cli.supervisor import end_with_supervisor
from execstream.cli.terminal import err
from execstream.client.execution_client import ExecutionClient
from execstream.config.process_lifetime import stop_signals
from execstream.dashboard.server import Server


async def serve(*, host: str | None = None, port: Port | None = None, json: Json = False) -> int:
    """Answer HTTP requests until Ctrl-C or SIGTERM.

    Parameters
    ----------
    host
        Where to listen; instead of EXECSTREAM_HTTP_HOST. Beyond this machine each request
        needs a token: EXECSTREAM_HTTP_TOKEN, or one of `execstream tokens create`.
    port
        Where to listen, 0 for a free port; instead of EXECSTREAM_HTTP_PORT.
    """
    settings = start()
    await require_sessions(settings)
    end_with_supervisor()
    stop = stop_signals()
    async with ExecutionClient(settings.kafka, settings.postgres, settings.redis) as client:
        server = Server(
            settings,
            client,
            settings.http_host if host is None else host,
            settings.http_port if port is None else port,
        )
        running = asyncio.create_task(server.run())
        _announce(server.url, json=json)
        ends: list[asyncio.Future[Any]] = [running, stop]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        server.stop()
        went_well = await running
    return stop.result() if went_well and stop.done() else 1


def _announce(url: str, *, json: bool) -> None:
    if json:
        print_json({"url": url})
    else:
        err.print(f"Serving at {url}")
