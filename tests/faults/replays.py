"""Replays beside live traffic."""

import asyncio
import os
import sys
from asyncio.subprocess import Process

from tests.faults.trial import Trial
from tests.faults.workers import PROJECT

KILL_AFTER = 1.0, 4.0  # seconds


async def replay(trial: Trial) -> None:
    """A replay is killed, goes on, and proves its tables equal to the live ones, and once more."""
    rebuilt = f"{trial.installation.settings.schema_}_rebuilt"
    killed = await _begin(trial, rebuilt)
    try:
        await asyncio.wait_for(killed.wait(), trial.chance.uniform(*KILL_AFTER))
    except TimeoutError:
        killed.kill()
        await killed.wait()
    try:
        for _ in range(2):
            proving = await _begin(trial, rebuilt)
            said, _ = await proving.communicate()
            if proving.returncode != 0:
                trial.outcome.failures.append(f"replay: {said.decode(errors='replace')[-1_000:]}")
    finally:
        await trial.installation.db.execute(f"drop schema if exists {rebuilt} cascade")


async def _begin(trial: Trial, into: str) -> Process:
    settings = trial.installation.settings
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "execstream", "replay", "--into", into),
        cwd=trial.appliers[0].log.parent,
        env=os.environ | settings.environment() | {"PYTHONPATH": str(PROJECT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
