"""A soak under attack: `python -m tests.attacks [MINUTES]`, 10 by default, on an idle machine.

1,000 simulated commands a second, 5 % of them bad, and one of the listed attacks every 20 seconds.
Prints commands, lost and doubled ones, the p99 of the seconds until a commit outside of the
attacks, and the growth of the memory of each worker and of an HTTP server with an open feed over
the last four fifths. Exit code 0 only when nothing was lost or doubled, p99 is at most 500 ms, no
memory grows by more than 1 % a minute, and the feed is still open.
"""

import asyncio
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from execstream.config.tasks import end
from execstream.devstack import start
from execstream.streams.topics import COMMANDS
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.reference import Reference
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.attacks.listed import RECORDS, records
from tests.attacks.target import Target, table, target
from tests.comparing import differing_counts, differing_rows
from tests.faults.feeding import Feeder
from tests.memory import Memory
from tests.soak import listen
from tests.whole.program import Program
from tests.worker import Installation, installation

RATE = 1_000  # commands per second
BAD = 0.05  # of them
PAUSE = 20.0  # seconds between attacks
SAMPLE = 2.0  # seconds between looks at memory
MOST_P99, MOST_GROWTH = 0.5, 0.01  # seconds; of the mean, per minute
ENDLESS = 1_000_000  # runs


async def _watch(memory: Memory, pids: Mapping[str, int]) -> None:
    while True:
        memory.look(pids)
        await asyncio.sleep(SAMPLE)


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
    program = Program(place.folder, place.settings.environment())
    async with (
        target(place) as own,
        program.running("serve", "--port", "0", "--json") as server,
    ):
        assert server.stdout is not None
        assert server.stderr is not None
        url = json.loads(await server.stdout.readline())["url"]
        pids = {role: worker.process.pid for role, worker in own.workers.items()}
        feeder.begin()
        watching = [
            asyncio.create_task(_watch(memory, pids | {"server": server.pid})),
            asyncio.create_task(listen(url)),
            asyncio.create_task(server.stderr.read()),  # a full pipe would hold the server up
        ]
        until = time.monotonic() + minutes * 60
        for name in itertools.cycle(RECORDS):
            await asyncio.sleep(PAUSE)
            if time.monotonic() > until:
                break
            attack = await own.elsewhere(records, name)
            begun = time.monotonic()
            await own.attack(name, attack)
            attacks.append((begun, time.monotonic()))
        listens = not watching[1].done()
        await end(*watching)
        await feeder.stop()
        await place.drained()
        waits = sorted(_outside(own, attacks))
        print(table(own.findings))
    p99, growth = waits[len(waits) * 99 // 100], memory.growth()
    print(f"{feeder.acknowledged:,} commands acknowledged, {len(attacks)} attacks")
    print(f"p99 outside of attacks: {p99 * 1000:.0f} ms; of {len(waits):,} probes")
    print(*memory.lines(), sep="\n")
    wrong = await _differences(place)
    print(f"differences from the reference: {wrong or 'none'}")
    print(f"the feed of everything: {'still open' if listens else 'CUT'}")
    return not wrong and listens and p99 <= MOST_P99 and max(growth.values()) <= MOST_GROWTH


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
