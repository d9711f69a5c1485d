"""The faults, each done to a trial."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.patience import reached
from tests.faults.points import LOSSES, Plan, Point
from tests.faults.trial import Trial
from tests.faults.workers import TERMINATION, Worker
from tests.worker import SESSION, until

LONGEST_OUTAGE = 2.0  # seconds until a killed server is started again
HURRY = 0.3  # share of kills that are followed by another before the recovery
LONGEST_HURRY = 4.0  # seconds
# Stale copies come at other passes than losses, which they would make up for, and so often that
# some come between a loss and the seek back.
LOSING: Plan = {point: [*range(9, 2_000, 18)] for point in LOSSES} | {
    Point.STALE_FETCH: [*range(2, 2_000, 2)]
}
ENOUGH = 10  # losses at each point

Fault = Callable[[Trial], Awaitable[None]]


async def kill_applier(trial: Trial) -> None:
    """SIGKILL, sometimes again while the others are still taking over."""
    trial.chance.choice(trial.appliers).kill()
    if trial.chance.random() < HURRY:
        await asyncio.sleep(trial.chance.uniform(0, LONGEST_HURRY))
        trial.outcome.trials += 1
        trial.chance.choice(trial.appliers).kill()


async def kill_bridge(trial: Trial) -> None:
    trial.bridge.kill()


async def terminate_applier(trial: Trial) -> None:
    """SIGTERM; it must end with 0 in time."""
    worker = trial.chance.choice(trial.appliers)
    await until(lambda: is_working(worker))  # Python ends with -15 before it heeds the signal
    code, seconds = await worker.terminate()
    if code != 0:
        trial.outcome.failures.append(
            f"apply ended with {code} after SIGTERM under load, {seconds:.1f} s later, and should "
            f"with 0 within {TERMINATION:.0f} s."
        )


async def is_working(worker: Worker) -> bool:
    return worker.is_working


async def freeze_applier(trial: Trial) -> None:
    """SIGSTOP for longer than its session: it goes on as a zombie after its partitions are gone."""
    worker = trial.chance.choice(trial.appliers)
    worker.freeze()
    await asyncio.sleep(SESSION * trial.chance.uniform(1.3, 2))
    worker.thaw()


def kill_server(name: str, outage: float | None = None) -> Fault:
    """SIGKILL of a server of the stack, which comes back after `outage` seconds, or a moment."""

    async def kill(trial: Trial) -> None:
        await trial.stack.kill(name)
        await asyncio.sleep(outage or trial.chance.uniform(0, LONGEST_OUTAGE))
        await trial.stack.restart(name)

    return kill


def die_at(*points: Point, then: Plan | None = None) -> Fault:
    """Death of the first worker at each of the points, one start after the other, and then a
    start with the plan `then`."""
    # Republishing ends at its second page: with the first page published.
    plans: list[Plan] = [{point: [2 if point is Point.REPUBLISHING else 1]} for point in points]

    async def die(trial: Trial) -> None:
        worker = trial.appliers[0]
        trial.outcome.trials += max(0, len(points) - 1)  # it counts as one already
        worker.plans = iter([*plans, then or {}])
        alive = worker.starts + 1 + len(points)
        worker.kill()

        async def starts() -> dict[int, int]:
            return {0: worker.starts}

        await reached("Deaths at points", starts, {0: alive})

    return die


async def lose(trial: Trial) -> None:
    """Answers of commits and whole fetches get lost on their way, again and again."""
    await die_at(then=LOSING)(trial)
    worker = trial.appliers[0]

    async def losses() -> dict[int, int]:
        said = worker.told()
        return {number: said[point] for number, point in enumerate(LOSSES)}

    await reached("Losses", losses, dict.fromkeys(range(len(LOSSES)), ENOUGH))
    # A loss at the end is noticed only when more comes: the end must be without losses.
    worker.kill()
