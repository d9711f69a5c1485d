"""A worker of several processes, which are one to the outside: begun, probed and ended together.

Each has a share of the partitions, as if they had been started one by one. This process merges the
answers at their sockets and serves them at the port of the role; it does nothing else.
"""

import tempfile
from pathlib import Path

from execstream.agents.runtime.merged_probes import answer_for
from execstream.cli.supervisor import Child, Supervisor
from execstream.config.process_lifetime import stop_signals
from execstream.config.settings import PREFIX, PROBE_SOCKET, Settings


async def run_group(settings: Settings, role: str, count: int) -> int:
    """Run `count` processes of `role` until Ctrl-C or SIGTERM; the exit code."""
    alone = ("worker", "--role", role, "--processes", "1")
    with tempfile.TemporaryDirectory(prefix="execstream-") as folder:
        # A socket's name is the number of its process.
        sockets = {number: Path(folder, str(number)) for number in range(1, count + 1)}
        children = [
            Child(role, alone, _environment(settings, socket, number), number)
            for number, socket in sockets.items()
        ]
        async with answer_for(settings, role, sockets), Supervisor(settings, children):
            return await stop_signals()


def _environment(settings: Settings, socket: Path, number: int) -> dict[str, str]:
    own = {PROBE_SOCKET: str(socket)}
    if settings.group_instance is not None:
        own[f"{PREFIX}GROUP_INSTANCE"] = f"{settings.group_instance}-{number}"
    return own
