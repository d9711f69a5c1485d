"""An installation under attack: its workers, the memory they take, and the table of findings."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

from execstream.streams.topics import COMMANDS
from tests.attacks.probe import Probe, probing
from tests.memory import peak_memory
from tests.orders import Order
from tests.worker import Installation, PartitionOffset, Worker, until

Made = TypeVar("Made")

ROLES = ("apply", "tally", "bridge")
PARTITION = 1  # under attack
MOST_MEMORY = 512  # MiB of a worker, as docker-compose.yml allows
# Seconds. They are figures of an idle machine: only `make attacks` fails when they are exceeded.
MOST_STANDSTILL, MOST_STANDSTILL_ON_PARTITION = 1.0, 5.0
ASSERTS_STANDSTILLS = "EXECSTREAM_TEST_STANDSTILLS" in os.environ


class Finding(NamedTuple):
    """The effect of one attack. Standstills in seconds, memory in MiB since the workers began."""

    attack: str
    same_partition: float
    other_partitions: float
    memory: dict[str, int]


@dataclass
class Target:
    """`findings` grow with each attack."""

    place: Installation
    workers: dict[str, Worker]
    probe: Probe
    processes: Executor
    findings: list[Finding] = field(default_factory=list)

    async def elsewhere(self, make: Callable[..., Made], *about: object) -> Made:
        """The result of `make`, made by another process: a long computation in this one holds the
        probe up, and looks like a standstill.
        """
        return await asyncio.get_running_loop().run_in_executor(self.processes, make, *about)

    async def attack(
        self, name: str, records: Iterable[Order] | Awaitable[list[PartitionOffset]]
    ) -> list[PartitionOffset]:
        """Put records, or let them be put; return their positions, once they are committed without
        harm to others.
        """
        begun = time.monotonic()
        if isinstance(records, Awaitable):
            places = await records
            await self.committed(places)
        else:
            places = await self.put(records)
        await self.probe.settled(time.monotonic())
        others = set(range(COMMANDS.partitions)) - {PARTITION}
        found = Finding(
            name,
            self.probe.standstill(begun, {PARTITION}),
            self.probe.standstill(begun, others),
            {role: peak_memory(worker.process.pid) for role, worker in self.workers.items()},
        )
        self.findings.append(found)
        for role, worker in self.workers.items():
            assert worker.is_alive, (role, worker.log()[-3:])
            assert found.memory[role] <= MOST_MEMORY
        if ASSERTS_STANDSTILLS:
            assert found.same_partition <= MOST_STANDSTILL_ON_PARTITION
            assert found.other_partitions <= MOST_STANDSTILL
        return places

    async def put(self, orders: Iterable[Order]) -> list[PartitionOffset]:
        """Put records on the partition under attack, and return when they are committed."""
        places = await self.place.put(order._replace(partition=PARTITION) for order in orders)
        await self.committed(places)
        return places

    async def committed(self, places: list[PartitionOffset]) -> None:
        """Return when the records at these places are committed."""

        async def is_committed() -> bool:
            rows = await self.place.db.fetch(
                "select partition, next_offset from consumer_offset where consumer = 'apply'"
            )
            found = dict(map(tuple, rows))
            return all(found.get(partition, 0) > offset for partition, offset in places)

        await until(is_committed, patience=180)


@asynccontextmanager
async def target(place: Installation) -> AsyncIterator[Target]:
    """Workers of all roles, and a probe."""
    async with AsyncExitStack() as ending:
        workers = {"apply": await ending.enter_async_context(place.worker())}
        for role in ROLES[1:]:
            workers[role] = await place.start_worker(role)
            ending.push_async_callback(workers[role].stop)
        processes = ending.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        probe = await ending.enter_async_context(probing(place))
        yield Target(place, workers, probe, processes)


def table(findings: list[Finding]) -> str:
    """The findings as text, a line for each attack."""
    lines = [f"{'attack':50} {'same':>6} {'other':>6} " + " ".join(f"{r:>6}" for r in ROLES)]
    lines += [
        f"{one.attack[:50]:50} {one.same_partition:6.2f} {one.other_partitions:6.2f} "
        + " ".join(f"{one.memory[role]:6}" for role in ROLES)
        for one in findings
    ]
    return "\n".join(lines)
