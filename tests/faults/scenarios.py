"""Scenarios: faults under load, as often as it is asked for, and the comparison after them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from execstream.devstack import Stack
from tests.faults import faults
from tests.faults.patience import Impatient
from tests.faults.points import Point
from tests.faults.trial import Outcome, Trial, trial

Run = Callable[[Stack, Path, int, int], Awaitable[Outcome]]  # with the seed and number of trials
Script = Callable[[Trial, int], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A row of the table.

    Attributes:
        number: of the fault in the list of faults; "control" for a control.
        short: trials in the short round; 0: the long round alone has it.
        long: trials in the long round.
        name: the fault.
        run: does the fault as often as it is asked to, and compares.
    """

    number: str
    short: int
    long: int
    name: str
    run: Run

    @property
    def is_control(self) -> bool:
        """Return whether it must lose something, a row or a change of one: the harness would not
        see losses otherwise.
        """
        return self.number == CONTROL

    def passes(self, outcome: Outcome) -> bool:
        """Return whether the outcome is as it must be."""
        return not outcome.findings.is_clean if self.is_control else outcome.is_good


CONTROL = "control"


def under_load(
    script: Script, *, appliers: int = 2, redis_stays: bool = True, replicas: int = 1
) -> Run:
    """Return a run of `script` on workers of its own, with commands at a steady rate.

    `replicas`: of each partition.
    """

    async def run(stack: Stack, folder: Path, seed: int, times: int) -> Outcome:
        async with trial(
            *(stack, folder),
            seed=seed,
            appliers=appliers,
            redis_stays=redis_stays,
            replicas=replicas,
        ) as running:
            try:
                await script(running, times)
            except Impatient as error:
                running.outcome.failures.append(str(error))
            return await running.finish()

    return run


def repeated(fault: faults.Fault) -> Script:
    """The fault so many times at least, each after the recovery of `apply` from the one before."""

    async def script(running: Trial, times: int) -> None:
        while running.outcome.trials < times:
            await running.suffer(fault)

    return script


def bridge_repeated(fault: faults.Fault) -> Script:
    """The same with the recovery of the bridge."""

    async def script(running: Trial, times: int) -> None:
        while running.outcome.trials < times:
            await running.suffer(fault, lag=running.bridging)

    return script


def points_repeated(*points: Point) -> Script:
    """So many deaths, at each of the points in turn."""

    async def script(running: Trial, times: int) -> None:
        while running.outcome.trials < times:
            await running.suffer(faults.die_at(*points))

    return script


async def lose_and_kill(running: Trial, times: int) -> None:
    """An outage that begins between a commit and its answer: a batch may be tried in parts."""
    await faults.die_at(then=faults.LOSING)(running)
    await repeated(faults.kill_server("postgres"))(running, times)
    running.appliers[0].kill()  # a fetch that is lost at the end is noticed only when more comes


async def _everything_once(running: Trial, _: int) -> None:
    points = (Point.COMMITTED, Point.REPUBLISHING, Point.PUBLISHING)
    dying = faults.die_at(*points, then=faults.LOSING)
    await running.suffer(dying)
    await running.suffer(faults.kill_server("postgres"))
    await running.suffer(faults.kill_server("kafka"))
    await running.suffer(faults.terminate_applier)
    await running.suffer(faults.kill_bridge, lag=running.bridging)
    await running.suffer(faults.kill_server("redis"), lag=running.bridging)


everything_once = under_load(_everything_once, appliers=1, redis_stays=False)
