"""A soak under attack: `python -m tests.attacks [MINUTES]`, 10 by default, on an idle machine.

1,000 simulated commands a second, 5 % of them bad, and one of the listed attacks every 20 seconds.
Prints commands, lost and doubled ones, the p99 of the seconds until a commit outside of the
attacks, and the growth of each worker's memory over the last four fifths. Exit code 0 only when
nothing was lost or doubled, p99 is at most 500 ms, and no memory grows by more than 1 % a minute.
"""

import asyncio
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from execstream.devstack import start
from execstream.streams.topics import COMMANDS
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.reference import Reference
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.attacks.listed import RECORDS, records
from tests.attacks.target import Target, table, target
from tests.comparing import differing_counts, differing_rows
from tests.faults.feeding import Feeder
from tests.worker import Installation, installation

RATE = 1_000  # commands per second
BAD = 0.05  # of them
PAUSE = 20.0  # seconds between attacks
SAMPLE = 2.0  # seconds between looks at memory
MOST_P99, MOST_GROWTH = 0.5, 0.01  # seconds; of the mean, per minute
ENDLESS = 1_000_000  # runs


@dataclass
class Memory:
    """Resident bytes of each worker over time."""

    samples: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    async def watch(self, under_attack: Target) -> None:
        """Look until cancelled."""
        while True:
            for role, worker in under_attack.workers.items():
                size = psutil.Process(worker.process.pid).memory_info().rss
                self.samples.setdefault(role, []).append((time.monotonic(), size))
            await asyncio.sleep(SAMPLE)

    def growth(self) -> dict[str, float]:
        """The slope of a line through the last four fifths of the mean, per minute, by role."""
        return {role: _slope(found[len(found) // 5 :]) for role, found in self.samples.items()}


def _slope(samples: list[tuple[float, int]]) -> float:
    times, sizes = zip(*samples, strict=True)
    slope, _ = statistics.linear_regression(times, sizes)
    return float(slope * 60 / statistics.mean(sizes))


async def soak(place: Installation, minutes: float) -> bool:
    """Attack for so long; whether everything was as it must be."""
    commands = simulate(
        load_graphs(EXAMPLE_GRAPHS),
        runs=ENDLESS,
        seed=1,
        start=datetime.now(UTC),
        mix=Mix(malformed=BAD, payload_bytes=460),
    )
    feeder = Feeder(place.settings.kafka, place.topic(COMMANDS.name), commands, RATE)
    memory = Memory()
    attacks: list[tuple[float, float]] = []
    async with target(place) as own:
        feeder.begin()
        watching = asyncio.create_task(memory.watch(own))
        until = time.monotonic() + minutes * 60
        for name in itertools.cycle(RECORDS):
            await asyncio.sleep(PAUSE)
            if time.monotonic() > until:
                break
            attack = await own.elsewhere(records, name)
            begun = time.monotonic()
            await own.attack(name, attack)
            attacks.append((begun, time.monotonic()))
        watching.cancel()
        await feeder.stop()
        await place.drained()
        waits = sorted(_outside(own, attacks))
        print(table(own.findings))
    p99, growth = waits[len(waits) * 99 // 100], memory.growth()
    print(f"{feeder.acknowledged:,} commands acknowledged, {len(attacks)} attacks")
    print(f"p99 outside of attacks: {p99 * 1000:.0f} ms; of {len(waits):,} probes")
    print("growth per minute: " + ", ".join(f"{role} {of:+.2%}" for role, of in growth.items()))
    wrong = await _differences(place)
    print(f"differences from the reference: {wrong or 'none'}")
    return not wrong and p99 <= MOST_P99 and max(growth.values()) <= MOST_GROWTH


def _outside(own: Target, attacks: list[tuple[float, float]]) -> list[float]:
    return [
        wait
        for waits in own.probe.waits.values()
        for sent, wait in waits
        if not any(begun <= sent + wait and sent <= ended for begun, ended in attacks)
    ]


async def _differences(place: Installation) -> list[str]:
    """Lost, doubled and differing rows and counts, in words."""
    reference = Reference()
    for record in await place.commands():
        reference.feed(record.partition, record.offset, record.key, record.value)
    rows = [line for row in await differing_rows(place.db, reference) for line in row.lines()]
    counts = await differing_counts(place.db, reference)
    return rows[:20] + [f"{name}: {excess:+}" for name, excess in counts.items()]


async def main(minutes: float) -> int:
    state = Path(tempfile.mkdtemp(prefix="execstream-attacks-"))
    stack = await start(state)
    try:
        async with installation(stack, state) as place:
            is_good = await soak(place, minutes)
    finally:
        await stack.stop()
    if not is_good:
        print(f"NOT GOOD. The logs of servers and workers are in {state}.")
        return 1
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)))
