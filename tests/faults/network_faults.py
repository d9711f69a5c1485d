"""Faults of the network between a worker and its servers, which are at the other end of a wire."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from signal import SIGHUP
from urllib.parse import urlsplit

from execstream.devstack import Stack
from tests.faults.patience import Impatient
from tests.faults.scenarios import Run
from tests.faults.trial import Outcome, Trial, trial
from tests.faults.wire import THERE, Rules, Wire, wire
from tests.worker import SESSION

SLOW = Rules(delay=0.05, loss=0.03)
SLOWLY = 8.0  # seconds with delay and loss
CUT = SESSION * 1.5  # seconds of a partition: the group gives the worker's partitions away

NetworkFault = Callable[[Trial, Wire], Awaitable[None]]


def behind_a_wire(fault: NetworkFault) -> Run:
    """Return a run with one of two workers of `apply` in a namespace of its own."""

    async def run(stack: Stack, folder: Path, seed: int, times: int) -> Outcome:
        async with wire(seed) as line:
            _admit(stack)
            async with trial(stack, folder, seed=seed, within=line.within) as running:
                try:
                    while running.outcome.trials < times:
                        await running.suffer(lambda suffering: fault(suffering, line))
                except Impatient as error:
                    running.outcome.failures.append(str(error))
                return await running.finish()

    return run


def _admit(stack: Stack) -> None:
    """Have Postgres accept the password from the namespace, too."""
    access = stack.state / "postgres" / "pg_hba.conf"
    line = f"host all all {THERE}/32 scram-sha-256\n"
    if line not in access.read_text():
        with access.open("a") as file:
            file.write(line)
    os.kill(stack.pids["postgres"], SIGHUP)


async def slow_down(_: Trial, line: Wire) -> None:
    """Each packet takes 50 ms each way, and 3 % get lost."""
    line.follow(SLOW)
    await asyncio.sleep(SLOWLY)
    line.follow(Rules())


def cut(server: str, *, to: bool) -> NetworkFault:
    """Packets get lost in one direction only: to the server, or from it."""

    async def cut_one_way(suffering: Trial, line: Wire) -> None:
        port = _port(suffering.stack, server)
        line.follow(Rules(cut_to=[port]) if to else Rules(cut_from=[port]))
        await asyncio.sleep(CUT)
        line.follow(Rules())

    return cut_one_way


def _port(stack: Stack, server: str) -> int:
    if server == "kafka":
        return int(stack.kafka_bootstrap.rpartition(":")[2])
    port = urlsplit(stack.postgres_dsn).port
    assert port is not None
    return port
