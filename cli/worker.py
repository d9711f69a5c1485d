"""`execstream worker`: the agents of one role in this process, or of each in one of its own."""

import asyncio
from typing import Literal

import structlog

from execstream.cli.common import require_sessions, start
from execstream.cli.supervisor import Supervisor, check_installed, end_with_supervisor
from execstream.config.process_lifetime import stop_signals
from execstream.config.settings import Settings

Role = Literal["apply", "tally", "bridge", "all"]


def worker(*, role: Role = "all") -> int:
    """Run agents until Ctrl-C or SIGTERM.

    Parameters
    ----------
    role
        apply: commands and the catalogue to Postgres. tally: events to totals. bridge: events to
        Redis. all: one process for each, started again when it ends.
    """
    check_installed()
    settings = start()
    asyncio.run(require_sessions(settings))
    if role == "all":
        return asyncio.run(_run_all(settings))
    end_with_supervisor()
    structlog.contextvars.bind_contextvars(role=role)
    # Faust is slow to import, and needed in this process only.
    from execstream.agents.worker import run_worker  # noqa: PLC0415

    return run_worker(role, settings)


async def _run_all(settings: Settings) -> int:
    async with Supervisor(settings):
        return await stop_signals()
