"""The rate at which a backlog is drained with everything running, and the CPU of each process for
it.

    python -m bench.drain [--commands 300000] [--mix field] [--roles apply tally bridge http]
        [--processes 1] [--subscribe none|some|all]

Starts servers of its own, fills the commands topic, and only then starts the workers and the HTTP
server, as `execstream up` does. Time and CPU are counted from the first commit until the last
consumer has reached its end, so starts of processes are left out. The outcomes must add up to the
commands. `--subscribe` has a client subscribe to the channels of 1 % of the runs, or to all by a
pattern; its CPU is reported apart. `--processes`: of the worker of role apply. Load average is
printed beside the figures.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from bench.machine import Machine
from bench.rounds import drain, outcomes
from bench.stage import MIXES, fill, installation, servers, simulated
from execstream.cli.supervisor import ROLES, SERVER
from execstream.config.settings import Settings
from execstream.storage.redis.channels import execution_channel
from execstream.workload.simulation import Sent

SUBSCRIBED = 100  # each so many-th run has a subscriber, with `some`


def channels(settings: Settings, records: Sequence[Sent]) -> list[str]:
    """The channels of the runs that `records` create."""
    found = []
    for _, value in records:
        if b'"graph.create"' in value and value.startswith(b"{"):
            created = json.loads(value)
            ids = (created[name] for name in ("user_id", "graph_id", "graph_exec_id"))
            found.append(execution_channel(settings.redis_prefix, *ids))
    return found


@contextmanager
def _subscriber(settings: Settings, channels: list[str]) -> Iterator[int]:
    """A process that reads all messages of these channels; its id."""
    program = [sys.executable, "-m", "bench.subscriber", *channels]
    environment = os.environ | settings.environment()
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 - our own program
        if process.stdout is not None:
            process.stdout.readline()  # it has subscribed
        try:
            yield process.pid
        finally:
            process.terminate()


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fill, start everything, and measure until all consumers are at their ends."""
    records = simulated(options.commands, options.mix)
    async with servers() as (addresses, folder), installation(addresses, "drain") as settings:
        ends = await fill(settings, records)
        machine = Machine()
        with ExitStack() as ending:
            if options.subscribe != "none":
                pattern = [execution_channel(settings.redis_prefix, "*", "*", "*")]
                some = channels(settings, records)[::SUBSCRIBED]
                wanted = pattern if options.subscribe == "all" else some
                machine.announce(
                    {"subscriber": ending.enter_context(_subscriber(settings, wanted))}
                )
            chosen = settings.model_copy(update={"apply_processes": options.processes})
            figures = await drain(chosen, ends, options.roles, folder / "logs", machine)
        counts = await outcomes(settings)
    if sum(counts) != options.commands:
        sys.exit(f"The figures do not count: {counts} for {options.commands} commands.")
    spent = sum(figures.cpu.values()) - figures.cpu.get("subscriber", 0)
    found: dict[str, Any] = msgspec.to_builtins(figures)
    return found | {"sum": round(spent, 1)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=300_000)
    parser.add_argument("--mix", choices=MIXES, default="field")
    parser.add_argument("--roles", nargs="*", default=[*ROLES, SERVER])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--subscribe", choices=("none", "some", "all"), default="none")
    print(json.dumps(await measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    asyncio.run(main())
