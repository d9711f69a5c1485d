"""`execstream up`: everything on this machine, until Ctrl-C."""

from contextlib import AsyncExitStack
from typing import Annotated

from cyclopts import Parameter

from execstream.cli.common import Json, Port, print_json, report_unknown_variables
from execstream.cli.stack import (
    LOGS,
    http_url,
    prepare,
    servers,
    until_it_answers,
    with_free_ports,
    workers,
)
from execstream.cli.supervisor import ROLES, SERVER
from execstream.cli.terminal import err, out
from execstream.config.logs import configure_logging
from execstream.config.process_lifetime import cancel_on_sigterm, stop_signals
from execstream.config.settings import LOCAL_STATE, Settings, read_settings
from execstream.config.shown_addresses import shown_address


async def up(
    *,
    workers_too: Annotated[bool, Parameter(name="--workers", negative="--no-workers")] = True,
    serve_too: Annotated[bool, Parameter(name="--serve", negative="--no-serve")] = True,
    http_port: Port | None = None,
    json: Json = False,
) -> int:
    """Run Kafka, Postgres, Redis, workers and HTTP server until Ctrl-C; restart those that end.

    Data and logs are kept below .execstream/.

    Parameters
    ----------
    workers_too
        Run the workers as well.
    serve_too
        Run the HTTP server as well.
    http_port
        Of the HTTP server; instead of EXECSTREAM_HTTP_PORT. Another is taken when it is not free.
    """
    cancel_on_sigterm()
    settings = with_free_ports(read_settings(), http_port)
    configure_logging(settings)
    report_unknown_variables()
    async with AsyncExitStack() as running:
        local, stack = await running.enter_async_context(servers(settings))
        await prepare(local, stack)
        url = http_url(local) if serve_too else None
        roles = (*(ROLES if workers_too else ()), *((SERVER,) if serve_too else ()))
        await running.enter_async_context(workers(local, stack, roles, url))
        if url is not None:
            await until_it_answers(url)
        stop = stop_signals()
        _announce(local, url, json=json)
        return await stop


def _announce(local: Settings, url: str | None, *, json: bool) -> None:
    addresses = {
        "kafka": local.kafka,
        "postgres": shown_address(local.postgres),
        "redis": shown_address(local.redis),
    }
    if url is not None:
        addresses["http"] = url
    if json:
        print_json(addresses)
    else:
        for name, address in addresses.items():
            out.print(f"{name:<9} {address}")
        out.print(f"logs      {LOGS}/")
        out.print(f"passwords {LOCAL_STATE / 'stack.json'}")
    err.print("Stop with Ctrl-C.")
