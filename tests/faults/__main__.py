"""The fault table: `make faults` and `make faults-long`.

    python -m tests.faults [--long] [--save] [--seed SEED] [NAME …]

NAME is a part of a scenario's name. The short round takes about ten minutes on two cores, the long
one some hours. Prints the table and each difference found. Exit code 0: nothing was lost, doubled
or different, except in the controls, which must lose something; the long round also fails where a
scenario cannot be run here. With --save the figures are kept for docs/faults.md.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from docs.fault_table import COLUMNS, cells
from execstream.config.process_lifetime import cancel_on_sigterm
from execstream.devstack import Stack, start
from tests.faults import rounds
from tests.faults.needs import Unavailable
from tests.faults.rounds import LONG, SHORT, Figures, figures, keep, not_run
from tests.faults.scenarios import Scenario
from tests.faults.table import SCENARIOS
from tests.faults.trial import Outcome

SEED = 7

console = Console(width=None if sys.stdout.isatty() else 160)


def table_of(rows: Iterable[Figures]) -> Table:
    """Return the rows as docs/faults.md has them."""
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*cells(rounds.as_saved(row)), style="" if row.passed else "red")
    return table


async def run_one(scenario: Scenario, stack: Stack, state: Path, seed: int, times: int) -> Figures:
    """Run one scenario; print its faults, and keep the whole list of them beside the logs."""
    try:
        outcome = await scenario.run(stack, state, seed, times)
    except Unavailable as reason:
        console.print(f"{scenario.name}: not run: {reason}")
        return not_run(scenario, times, str(reason))
    except Exception as error:  # noqa: BLE001 - the others are still run
        traceback.print_exc()
        outcome = Outcome(failures=[f"{type(error).__name__}: {error}"])
    row = figures(scenario, outcome, times, seed)
    console.print(f"{scenario.name}: {'good' if row.passed else 'NOT GOOD'}")
    if not row.passed:
        for complaint in (*outcome.failures, *outcome.findings.samples):
            console.print(complaint, markup=False, style="red")
        list_of_all = state / f"{SCENARIOS.index(scenario)}.findings"
        list_of_all.write_text("\n".join((*outcome.failures, *outcome.findings.noted)))
    return row


async def main(options: argparse.Namespace) -> int:
    """Run the scenarios of the round one after the other; return the exit code."""
    cancel_on_sigterm()  # so that servers are stopped
    for library in ("aiokafka", "asyncpg"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # that servers are away is meant
    state = Path(tempfile.mkdtemp(prefix="execstream-faults-"))
    stack = await start(state, report=console.print)
    rows = []
    try:
        for scenario in SCENARIOS:
            times = scenario.long if options.long else scenario.short
            wanted = not options.names or any(name in scenario.name for name in options.names)
            if times and wanted:
                rows.append(await run_one(scenario, stack, state, options.seed, times))
                if options.save:
                    keep(LONG if options.long else SHORT, rows, SCENARIOS)
    finally:
        await stack.stop()
    console.print(table_of(rows))
    if not rounds.all_pass(rows, is_long=options.long):
        console.print(f"The logs of servers and workers are in {state}.")
        return 1
    shutil.rmtree(state)
    return 0


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(read_options())))
