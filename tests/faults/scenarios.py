"""Trials by name: the faults, their number, and their targets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from execstream.devstack import Stack
from tests.faults import faults
from tests.faults.patience import Impatient
from tests.faults.points import DEATHS, Point
from tests.faults.trial import Outcome, Trial, trial

Script = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """`redis_stays`: Redis is not killed, so a subscriber must receive everything."""

    name: str
    script: Script
    appliers: int = 2
    redis_stays: bool = True

    async def run(self, stack: Stack, folder: Path, seed: int) -> Outcome:
        async with trial(
            stack, folder, seed=seed, appliers=self.appliers, redis_stays=self.redis_stays
        ) as running:
            try:
                await self.script(running)
            except Impatient as error:
                running.outcome.failures.append(str(error))
            return await running.finish()


def repeated(fault: faults.Fault, times: int) -> Script:
    """The fault so many times at least, each after the recovery from the one before."""

    async def script(running: Trial) -> None:
        while running.outcome.trials < times:
            await running.suffer(fault)

    return script


async def kill_bridge_often(running: Trial) -> None:
    for _ in range(5):
        await running.suffer(faults.kill_bridge, lag=running.bridging)


async def kill_redis_often(running: Trial) -> None:
    for _ in range(3):
        await running.suffer(faults.kill_server("redis"), lag=running.bridging)


async def die_often(running: Trial) -> None:
    for _ in range(3):
        await running.suffer(faults.die_at(*DEATHS))


async def lose_and_kill_often(running: Trial) -> None:
    """An outage that begins between a commit and its answer: a batch may be tried in parts."""
    await running.suffer(faults.die_at(then=faults.LOSING))
    for _ in range(6):
        await running.suffer(faults.kill_server("postgres"))


LONG = (
    Scenario("kill -9 of apply", repeated(faults.kill_applier, 20)),
    Scenario("kill -9 of bridge", kill_bridge_often),
    Scenario("kill -9 of Postgres", repeated(faults.kill_server("postgres"), 3)),
    Scenario("kill -9 of the broker", repeated(faults.kill_server("kafka"), 3)),
    Scenario("kill -9 of Redis", kill_redis_often, redis_stays=False),
    Scenario("SIGTERM", repeated(faults.terminate_applier, 5)),
    Scenario("SIGSTOP (zombie)", repeated(faults.freeze_applier, 5)),
    Scenario("death at a point", die_often, appliers=1),
    Scenario("answers, fetches lost", repeated(faults.lose, 1), appliers=1),
    Scenario("kill -9 of Postgres, answers lost", lose_and_kill_often, appliers=1),
)


async def _everything_once(running: Trial) -> None:
    points = (Point.COMMITTED, Point.REPUBLISHING, Point.PUBLISHING)
    dying = faults.die_at(*points, then=faults.LOSING)
    await running.suffer(dying)
    await running.suffer(faults.kill_server("postgres"))
    await running.suffer(faults.kill_server("kafka"))
    await running.suffer(faults.terminate_applier)
    await running.suffer(faults.kill_bridge, lag=running.bridging)
    await running.suffer(faults.kill_server("redis"), lag=running.bridging)


SHORT = Scenario("everything once", _everything_once, appliers=1, redis_stays=False)
