"""How fast a backlog is drained with everything running, and the CPU of each process for it.

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
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.apply_cpu import GRAPHS, MIXES
from execstream import devstack
from execstream.cli.supervisor import ROLES, SERVER, Supervisor, child_of
from execstream.config.settings import Settings, read_settings
from execstream.devstack.ports import free_ports
from execstream.kafka.admin import apply_topics
from execstream.kafka.producer import BulkProducer
from execstream.storage.redis.channels import execution_channel
from execstream.storage.schema.migrate import migrate
from execstream.streams.topics import COMMANDS
from execstream.workload.demo.observer import Observer
from execstream.workload.simulation import load_graphs, simulate

POLL = 0.05  # seconds
PORTS = ("apply_port", "tally_port", "bridge_port", "http_port")
SUBSCRIBED = 100  # each so many-th run has a subscriber, with `some`

Cpu = dict[str, float]  # seconds by process


class Machine:
    """CPU of the servers and of the processes that were started for the measurement."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._begin: Cpu = {}

    def announce(self, pids: Mapping[str, int]) -> None:
        self._pids.update(pids)

    def begin(self) -> None:
        self._begin = self._cpu()

    def spent(self) -> Cpu:
        """Seconds since `begin`."""
        return {name: seconds - self._begin.get(name, 0) for name, seconds in self._cpu().items()}

    def memory(self) -> dict[str, int]:
        """Resident megabytes of each started process now."""
        return {name: _resident(psutil.Process(pid)) for name, pid in self._pids.items()}

    def _cpu(self) -> Cpu:
        found: Cpu = {}
        started = {pid: name for name, pid in self._pids.items()}
        for process in psutil.Process().children(recursive=True):
            try:
                # What a worker began, in which several do its work, is the worker's.
                name = started.get(process.pid) or started.get(process.ppid()) or process.name()
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found[name] = found.get(name, 0) + times.user + times.system
        return found


def _resident(process: psutil.Process) -> int:
    """Megabytes of a process and of those that it began."""
    family = [process, *process.children(recursive=True)]
    return int(sum(one.memory_info().rss for one in family) // 10**6)


async def fill(settings: Settings, count: int, mix: str) -> tuple[dict[int, int], list[str]]:
    """Send simulated commands; where their partitions then end, and the channels of their runs."""
    graphs, start = load_graphs(GRAPHS), datetime.now(UTC)
    commands = simulate(graphs, runs=count, seed=1, start=start, mix=MIXES[mix])
    channels = []
    async with BulkProducer(settings.kafka, COMMANDS.name) as producer:
        for key, value in itertools.islice(commands, count):
            await producer.add(key, value)
            if b'"graph.create"' in value and value.startswith(b"{"):
                with_ids = json.loads(value)
                ids = (with_ids[name] for name in ("user_id", "graph_id", "graph_exec_id"))
                channels.append(execution_channel("", *ids))
        await producer.flush()
    return dict(producer.ends), channels


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    """Return when `holds` gives a true answer."""
    while not await holds():  # noqa: ASYNC110 - other processes make it true
        await asyncio.sleep(POLL)


async def drain(options: argparse.Namespace, settings: Settings, folder: Path) -> dict[str, Any]:
    """Fill, start everything, and measure until all consumers are at their ends."""
    ends, channels = await fill(settings, options.commands, options.mix)
    machine, finished = Machine(), {}
    async with AsyncExitStack() as ending:
        seen = await ending.enter_async_context(Observer(settings))
        if options.subscribe != "none":
            wanted = [] if options.subscribe == "all" else channels[::SUBSCRIBED]
            machine.announce({"subscriber": ending.enter_context(_subscriber(settings, wanted))})
        children = map(child_of, options.roles)
        supervisor = Supervisor(settings, children, folder / "logs", machine.announce)
        await ending.enter_async_context(supervisor)

        async def has_begun() -> bool:
            return bool((await seen.judged()).places)

        await until(has_begun)
        machine.begin()
        begun, (done_before, _) = time.monotonic(), await seen.judged()
        await until(lambda: seen.applied(ends))
        finished["apply"] = time.monotonic() - begun
        event_ends = await seen.event_ends()
        if "bridge" in options.roles:
            await until(lambda: seen.bridged(event_ends))
            finished["bridge"] = time.monotonic() - begun
        if "tally" in options.roles:
            await until(lambda: seen.tallied(event_ends))
            finished["tally"] = time.monotonic() - begun
        seconds, cpu, memory = time.monotonic() - begun, machine.spent(), machine.memory()
        outcomes = (await seen.judged()).outcomes
    counted = options.commands - sum(done_before)
    if sum(outcomes) != options.commands:
        sys.exit(f"The figures do not count: {outcomes} for {options.commands} commands.")
    per_command = {name: round(spent / counted * 1e6, 1) for name, spent in sorted(cpu.items())}
    return {
        "commands_per_second": round(counted / seconds),
        "finished_after": {name: round(at, 1) for name, at in finished.items()},
        "us_per_command": per_command,
        "sum": round(sum(per_command.values()) - per_command.get("subscriber", 0), 1),
        "memory_mb": memory,
        "load": os.getloadavg()[0],
    }


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


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=300_000)
    parser.add_argument("--mix", choices=MIXES, default="field")
    parser.add_argument("--roles", nargs="*", default=[*ROLES, SERVER])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--subscribe", choices=("none", "some", "all"), default="none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        stack = await devstack.start(Path(state))
        try:
            settings = read_settings().at(
                kafka_bootstrap=stack.kafka_bootstrap,
                postgres_dsn=stack.postgres_dsn,
                redis_url=stack.redis_url,
            )
            ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
            changes = dict(ports) | {"apply_processes": options.processes}
            settings = settings.model_copy(update=changes)
            await migrate(settings.postgres)
            await apply_topics(settings.kafka)
            print(json.dumps(await drain(options, settings, Path(state)), indent=2))
        finally:
            await stack.stop()


if __name__ == "__main__":
    asyncio.run(main())
