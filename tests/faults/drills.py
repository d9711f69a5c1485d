"""Drills of the runbooks as rows of the table: all rows come back, and workers go on."""

import time
from pathlib import Path

from execstream.devstack import Stack
from tests.faults.scenarios import Run
from tests.faults.trial import Outcome
from tests.recovery.test_drills import DRILLS, drill

COUNT = 3_000  # simulated commands of a drill


def drilled(name: str) -> Run:
    """The drill `name`, as often as asked for. `recoveries` is the time that each took in all."""

    async def run(stack: Stack, folder: Path, _seed: int, times: int) -> Outcome:
        outcome = Outcome()
        for number in range(times):
            outcome.trials += 1
            own = folder / f"drill-{number}"
            own.mkdir()
            async with drill(stack, own, COUNT) as running:
                begun = time.monotonic()
                try:
                    await DRILLS[name](running)
                except (AssertionError, TimeoutError) as error:
                    outcome.failures.append(f"{name}: {error}")
                outcome.acknowledged += len(running.place.puts)
                outcome.recoveries.append(time.monotonic() - begun)
        return outcome

    return run
