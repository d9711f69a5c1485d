"""A rolling upgrade from the release before, under load: no standstill, and nothing is lost.

The steps are those of docs/upgrading.md: expand, start new workers, stop the old ones, contract.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import load_graphs
from tests.attacks.probe import Probe, probing
from tests.faults.feeding import DIRTY, Feeder, small_records
from tests.faults.listening import Listener
from tests.upgrade.checks import check_against_reference, check_verify
from tests.upgrade.old_release import PORTS, OldRelease, unpack
from tests.upgrade.running_stack import GRAPHS, connected, up, wait_for_all
from tests.whole.program import Program
from tests.worker import Installation, Worker

pytestmark = [pytest.mark.upgrade, pytest.mark.slow, pytest.mark.timeout(400)]

RATE = 840  # commands a second, beside the 160 of the probe
SETTLED = 4.0  # seconds of load between two steps
MOST_P99 = 1.0  # seconds; a figure of an idle machine
ASSERTS_P99 = "EXECSTREAM_TEST_STANDSTILLS" in os.environ


@pytest.fixture
async def old(tmp_path: Path) -> OldRelease:
    """The old release, unpacked."""
    return unpack(tmp_path / "old")


async def test_rolling_upgrade(old: OldRelease, tmp_path: Path) -> None:
    """Old and new workers commit side by side before the schema contracts, and back again; the new
    ones go on while it does; all rows, events and messages are those of the reference."""
    async with (
        up(old.program, "--no-workers", "--no-serve") as stack,
        connected(stack, old.home) as (place, listener),
    ):
        await stack.ready()
        program = Program(tmp_path, _settings(stack.addresses))
        async with AsyncExitStack() as running:
            async with _load(place) as (feeder, probe):
                steps = Steps(old, place, program, probe)
                await _upgrade(steps, running)
            await wait_for_all(place)
        waits, probed = steps.waits(), sum(map(len, probe.waits.values()))
        print(f"{feeder.acknowledged:,} commands acknowledged beside {probed:,} of the probe")
        print(f"p50 {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s")
        print(f"longest wait {waits[-1]:.3f} s")
        assert not ASSERTS_P99 or waits[len(waits) * 99 // 100] <= MOST_P99
        await _check(program, place, listener, feeder.acknowledged + probed)


def _settings(servers: Addresses) -> dict[str, str]:
    return PORTS | {
        "EXECSTREAM_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "EXECSTREAM_POSTGRES_DSN": servers.postgres_dsn,
        "EXECSTREAM_REDIS_URL": servers.redis_url,
    }


@asynccontextmanager
async def _load(place: Installation) -> AsyncIterator[tuple[Feeder, Probe]]:
    """Commands at a steady rate, and a probe; attributes only from new workers on."""
    records = small_records(load_graphs(GRAPHS), 1, replace(DIRTY, attributed=0.0))
    feeder = Feeder(place.settings.kafka, place.topic(COMMANDS.name), records, RATE)
    async with probing(place) as probe:
        feeder.begin()
        try:
            yield feeder, probe
        finally:
            await feeder.stop()


class Steps:
    """The steps of an upgrade. Each returns after some seconds of load, and prints the longest wait
    of a command meanwhile.
    """

    def __init__(
        self, old: OldRelease, place: Installation, program: Program, probe: Probe
    ) -> None:
        self.old, self.place = old, place
        self._program, self._probe = program, probe
        self._forward: list[tuple[float, float]] = []

    @asynccontextmanager
    async def forward(self) -> AsyncIterator[None]:
        """Steps of the upgrade itself, neither before it nor back."""
        begun = time.monotonic()
        yield
        self._forward.append((begun, time.monotonic()))

    def waits(self) -> list[float]:
        """Seconds until their commits of the commands that the probe sent during these steps."""
        return sorted(
            wait
            for waits in self._probe.waits.values()
            for sent, wait in waits
            if any(begun <= sent <= ended for begun, ended in self._forward)
        )

    @asynccontextmanager
    async def named(self, name: str) -> AsyncIterator[None]:
        """A step."""
        begun = time.monotonic()
        yield
        await asyncio.sleep(SETTLED)
        waited = self._probe.standstill(begun, set(range(COMMANDS.partitions)))
        print(f"{name}: longest wait {waited:.2f} s")

    async def migrate(self, *options: str) -> None:
        async with self.named(" ".join(("migrate", *options))):
            done = await self._program("migrate", *options)
            assert done.code == 0, done.err

    async def start(self, role: str, **settings: Any) -> Worker:
        """Start a new worker."""
        async with self.named(f"start new {role}"):
            worker = await self.place.start_worker(role, **settings)
        assert worker.is_alive, worker.log()[-3:]
        return worker

    async def stop(self, *workers: Worker) -> None:
        """Have new workers end, one after the other."""
        for worker in workers:
            async with self.named("stop a new worker"):
                assert await worker.stop() == 0

    async def stop_old(self, *workers: asyncio.subprocess.Process) -> None:
        """Have old workers end at the same time. That of role tally has ended by itself: it counts
        through a function that new ones replace, and its place in the topic stays.
        """
        async with self.named(f"stop {len(workers)} old workers"):
            for worker in workers:
                with suppress(ProcessLookupError):
                    worker.send_signal(signal.SIGTERM)
            await asyncio.gather(*(worker.wait() for worker in workers))


async def _upgrade(steps: Steps, running: AsyncExitStack) -> None:
    """The steps, with a way back before the last one. Workers run until `running` ends."""

    async def begin(role: str) -> asyncio.subprocess.Process:
        async with steps.named(f"start old {role}"):
            return await running.enter_async_context(steps.old.worker(role))

    appliers = [await begin("apply") for _ in range(2)]
    others = [await begin(role) for role in ("tally", "bridge")]

    async with steps.forward():
        await steps.migrate("--expand")
        first = [await steps.start("apply") for _ in range(2)]
        await steps.stop_old(*appliers)
    back = await begin("apply")
    await steps.stop(*first)
    for number in range(2):
        worker = await steps.start("apply", group_instance=f"apply-{number}")
        running.push_async_callback(worker.stop)
    await steps.stop_old(back)

    async with steps.forward():
        await steps.migrate()
        for role in ("tally", "bridge"):
            running.push_async_callback((await steps.start(role)).stop)
        await steps.stop_old(*others)


async def _check(
    program: Program, place: Installation, listener: Listener, acknowledged: int
) -> None:
    outcomes = await place.db.fetchrow(
        "select sum(applied), sum(duplicate), sum(refused), sum(dead), sum(quarantined)"
        "  from consumer_offset where consumer = 'apply'"
    )
    assert sum(outcomes) >= acknowledged
    await check_verify(program)
    await check_against_reference(place, listener)
