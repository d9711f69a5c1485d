"""The long form of the trials: `make faults`, or `python -m tests.faults [SEED] [NAME …]`.

Takes about ten minutes on two cores; NAME is a part of a scenario's name. Prints one line for each
scenario and the faults found; exit code 0 only when there are none.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from execstream.devstack import start
from tests.faults.scenarios import LONG, Scenario
from tests.faults.trial import Outcome

SEED = 7
NOTED = ("republished", "fenced", "seek_back", "folded_again", "retry")  # in the workers' logs
_HEAD = ("fault", "trials", "acknowledged", "lost", "doubled", "differing", "recovery s", "seen")

console = Console(width=None if sys.stdout.isatty() else 140)


def table_of(outcomes: list[tuple[Scenario, Outcome]]) -> Table:
    table = Table(*_HEAD)
    for scenario, outcome in outcomes:
        findings = outcome.findings
        recoveries = outcome.recoveries or [0.0]
        table.add_row(
            scenario.name,
            str(outcome.trials),
            f"{outcome.acknowledged:,}",
            str(findings.lost.total()),
            str(findings.doubled.total()),
            str(findings.differing.total()),
            f"{median(recoveries):.1f} / {max(recoveries):.1f}",
            ", ".join(f"{name} {outcome.said[name]}" for name in NOTED if outcome.said[name]),
            style="" if outcome.is_good else "red",
        )
    table.caption = "recovery: median / longest, until less than a second behind"
    return table


async def main(seed: int, names: list[str]) -> int:
    for library in ("aiokafka", "asyncpg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # that servers are away is meant
    state = Path(tempfile.mkdtemp(prefix="execstream-faults-"))
    stack = await start(state, report=console.print)
    outcomes = []
    try:
        for scenario in LONG:
            if names and not any(name in scenario.name for name in names):
                continue
            outcome = await scenario.run(stack, state, seed)
            outcomes.append((scenario, outcome))
            console.print(f"{scenario.name}: {'good' if outcome.is_good else 'NOT GOOD'}")
            for complaint in (*outcome.failures, *outcome.findings.samples):
                console.print(complaint, markup=False, style="red")
    finally:
        await stack.stop()
    console.print(table_of(outcomes))
    if not all(outcome.is_good for _, outcome in outcomes):
        console.print(f"The logs of servers and workers are in {state}.")
        return 1
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    parts = [word for word in sys.argv[1:] if not word.isdigit()]
    sys.exit(asyncio.run(main(numbers[0] if numbers else SEED, parts)))
