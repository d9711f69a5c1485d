"""Rows of the fault table that tests of other kinds prove: they are run as often as asked for."""

import asyncio
import os
import sys
from pathlib import Path

from execstream.devstack import Stack
from execstream.devstack.addresses import DESCRIPTION
from tests.agents.test_sequences import RUNS
from tests.conftest import RUNNING_STACK
from tests.faults import test_positions
from tests.faults.trial import Outcome
from tests.faults.workers import PROJECT
from tests.worker import installation

OUTSIDE = (
    test_positions.test_a_stored_position_beyond_the_end,
    test_positions.test_a_stored_position_before_the_beginning,
    test_positions.test_retention_overtakes_a_worker,
    test_positions.test_a_consumer_that_moved_back_unasked,
)
TAIL = 2_000  # characters of a failed test


async def refuse_positions(stack: Stack, folder: Path, _seed: int, times: int) -> Outcome:
    """A worker whose position does not fit the topic ends with exit code 70 and the reason."""
    outcome = Outcome()
    for test in OUTSIDE * (times // len(OUTSIDE)):
        outcome.trials += 1
        async with installation(stack, folder) as place:
            try:
                await test(place)
            except (AssertionError, TimeoutError) as error:
                outcome.failures.append(f"{test.__name__}: {error}")
    return outcome


async def try_sequences(stack: Stack, _folder: Path, _seed: int, times: int) -> Outcome:
    """Random sequences of commands, in any order and with strangers; each has a run of its own."""
    environment = os.environ | {RUNNING_STACK: str(stack.state / DESCRIPTION)}
    if times > SHORT_SEQUENCES:
        environment["HYPOTHESIS_PROFILE"] = "long"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "tests/agents/test_sequences.py"),
        cwd=PROJECT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    outcome = Outcome(trials=times)
    if process.returncode != 0:
        outcome.failures.append(said.decode(errors="replace")[-TAIL:])
    return outcome


SHORT_SEQUENCES = 80 * RUNS
LONG_SEQUENCES = 1_500 * RUNS
