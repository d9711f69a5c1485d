"""`execstream up`: everything on this machine, until Ctrl-C."""

from contextlib import AsyncExitStack
from typing import Annotated

from cyclopts import Parameter

from execstream.cli.common import Json, err, out, print_json
from execstream.cli.stack import LOGS, prepare, servers, workers
from execstream.logs import configure_logging
from execstream.settings import Settings, read_settings
from execstream.supervisor import stop_signals


async def up(
    *,
    workers_too: Annotated[bool, Parameter(name="--workers", negative="--no-workers")] = True,
    json: Json = False,
) -> int:
    """Start Kafka, Postgres, Redis and the workers; start again what ends; stop on Ctrl-C.

    Data and logs are kept below .execstream/.

    Parameters
    ----------
    workers_too
        Run the workers as well.
    """
    settings = read_settings()
    configure_logging(settings)
    async with AsyncExitStack() as running:
        local, stack = await running.enter_async_context(servers(settings))
        await prepare(local)
        if workers_too:
            await running.enter_async_context(workers(local, stack))
        _tell(local, json=json)
        return await stop_signals()


def _tell(local: Settings, *, json: bool) -> None:
    addresses = {"kafka": local.kafka, "postgres": local.postgres, "redis": local.redis}
    if json:
        print_json(addresses)
    else:
        for name, address in addresses.items():
            out.print(f"{name:<9} {address}", markup=False)
        out.print(f"logs      {LOGS}/")
    err.print("Stop with Ctrl-C.")
