"""CPU of all processes while no command comes, and their memory.

    python -m bench.idle [--seconds 30] [--save]

Starts servers of its own and the processes that `execstream up` starts, waits until they have
settled, and counts. Figures are in percent of one core, and in megabytes.
"""

import argparse
import asyncio
import json
import os

from bench import results
from bench.machine import Machine
from bench.stage import installation, servers
from execstream.cli.supervisor import ROLES, SERVER, Supervisor, child_of

SETTLING = 20.0  # seconds


async def measure(seconds: float) -> dict[str, dict[str, float]]:
    """Percent of a core, and megabytes, by process."""
    machine = Machine()
    async with (
        servers() as (addresses, folder),
        installation(addresses, "idle") as settings,
        Supervisor(settings, map(child_of, (*ROLES, SERVER)), folder / "logs", machine.announce),
    ):
        await asyncio.sleep(SETTLING)
        machine.begin()
        await asyncio.sleep(seconds)
        spent, memory = machine.spent(), machine.memory()
    percent = {name: round(100 * one / seconds, 2) for name, one in sorted(spent.items())}
    return {"percent": percent, "memory": {name: float(one) for name, one in memory.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--save", action="store_true", help="keep the figures for the manual")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.seconds))
    print(json.dumps(figures | {"load": os.getloadavg()[0]}, indent=1))
    if options.save:
        results.save("idle", figures)


if __name__ == "__main__":
    main()
