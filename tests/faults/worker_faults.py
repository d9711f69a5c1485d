"""Faults of workers beyond a kill: they come and go, run out of memory, and have wrong clocks."""

import time
from asyncio import sleep

from tests.faults.faults import is_working
from tests.faults.needs import faketime, memory_limit
from tests.faults.trial import Trial
from tests.faults.workers import Worker
from tests.worker import until

STEP = 2.0  # seconds between comings and goings
OOM_LIMIT = 256 * 1024  # bytes more than a worker has; less than its next batches take
SKEWS = ("+1h", "-1h", "+0")


async def join_and_leave(trial: Trial, times: int) -> None:
    """A worker joins or leaves every `STEP` seconds; one stays at least."""
    away: list[Worker] = []
    for _ in range(times):
        trial.outcome.trials += 1
        here = [worker for worker in trial.appliers if worker not in away]
        if away and (len(here) == 1 or trial.chance.random() < 0.5):
            away.pop(0).begin()
        else:
            await _leave(trial, trial.chance.choice(here))
            away += [worker for worker in here if worker.pid is None]
        await sleep(STEP)
    begun = time.monotonic()
    for worker in away:
        worker.begin()
    trial.outcome.recoveries.append(await trial.applying.recovered(begun))


async def _leave(trial: Trial, worker: Worker) -> None:
    await until(lambda: is_working(worker))
    code, seconds = await worker.stop()
    if code != 0:
        trial.outcome.failures.append(f"apply ended with {code} after SIGTERM, {seconds:.1f} s")


async def run_out_of_memory(trial: Trial) -> None:
    """The kernel kills a worker because its control group has no memory left."""
    worker = trial.chance.choice(trial.appliers)
    await until(lambda: is_working(worker))
    starts, pid = worker.starts, worker.pid
    assert pid is not None

    async def has_ended() -> bool:
        return worker.starts > starts

    trial.struck()
    with memory_limit(pid, OOM_LIMIT) as events:
        await until(has_ended)
        kills = next(line for line in events.read_text().splitlines() if "oom_kill " in line)
        if kills.split()[1] == "0":
            trial.outcome.failures.append("The worker ended, and the kernel has not killed it.")


async def skew_clocks(trial: Trial) -> None:
    """Each worker starts again, with the clock of one an hour ahead, of another one behind."""
    library = faketime()
    skews = trial.chance.sample(SKEWS, len(trial.appliers))
    for worker, skew in zip(trial.appliers, skews, strict=True):
        worker.variables = {
            "LD_PRELOAD": library,
            "FAKETIME": skew,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        worker.kill()
