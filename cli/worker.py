"""`execstream worker`: the agents of one role, or those of all roles in processes of their own."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import structlog
from cyclopts import Parameter

from execstream.cli.common import require_sessions, start
from execstream.cli.supervisor import Supervisor, check_installed, end_with_supervisor
from execstream.config.cores import processes_for
from execstream.config.process_lifetime import stop_signals
from execstream.config.settings import AUTO, PROBE_SOCKET, Settings
from execstream.streams.errors import Fatal
from execstream.streams.topics import COMMANDS

Role = Literal["apply", "tally", "bridge", "all"]
MOST = 64  # processes


def _in_bounds(_type: object, processes: int | str | None) -> None:
    if isinstance(processes, int) and not 1 <= processes <= MOST:
        raise ValueError(f"Must be auto or between 1 and {MOST}.")


Processes = Annotated[int | Literal["auto"] | None, Parameter(validator=_in_bounds)]


class OneProcessOnly(Fatal):
    """The role does not run in several processes."""


def worker(*, role: Role = "all", processes: Processes = None) -> int:
    """Run agents until Ctrl-C or SIGTERM.

    Parameters
    ----------
    role
        apply: commands and the catalogue to Postgres. tally: events to totals. bridge: events to
        Redis. all: one process for each, started again when it ends.
    processes
        Of role apply, which answer as one at its port, and are started again when they end; instead
        of EXECSTREAM_APPLY_PROCESSES. auto: one less than there are cores, at most one per
        partition and at least one.
    """
    check_installed()
    settings = start()
    if processes is not None:
        if role not in ("apply", "all"):
            raise OneProcessOnly(
                f"A worker of role {role} has one process; start it again for more."
            )
        settings = settings.model_copy(update={"apply_processes": processes})
    asyncio.run(require_sessions(settings))
    if role == "all":
        return asyncio.run(_run_all(settings))
    end_with_supervisor()
    structlog.contextvars.bind_contextvars(role=role)
    if role == "apply" and (count := _count(settings)) > 1:
        # It imports modules that only workers have.
        from execstream.cli.worker_group import run_group  # noqa: PLC0415

        return asyncio.run(run_group(settings, role, count))
    socket = os.environ.get(PROBE_SOCKET)
    if socket is not None:
        structlog.contextvars.bind_contextvars(process=int(Path(socket).name))
    # Faust is slow to import, and needed in this process only.
    from execstream.agents.worker import run_worker  # noqa: PLC0415

    return run_worker(role, settings, socket=None if socket is None else Path(socket))


def _count(settings: Settings) -> int:
    chosen = settings.apply_processes
    return processes_for(COMMANDS.partitions) if chosen == AUTO else chosen


async def _run_all(settings: Settings) -> int:
    async with Supervisor(settings):
        return await stop_signals()
