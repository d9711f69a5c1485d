"""`execstream demo --chaos`: SIGKILL of the demo's own workers and servers, one after the other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from execstream.cli.supervisor import ROLES, Supervisor
from execstream.cli.terminal import err
from execstream.config.tasks import end
from execstream.streams.errors import Fatal
from execstream.workload.demo import Demo

if TYPE_CHECKING:
    from execstream.devstack import Stack

SERVERS = ("redis", "postgres", "kafka")
POLL = 0.1  # seconds
CALM = 1.0, 3.0  # seconds between a recovery and the next kill
CAUGHT_UP = 1.0  # seconds behind, at the rate of the demo
AT_ONCE = 500  # commands behind, where the demo has no rate


class NotOwned(Fatal):
    """Servers or workers were not started by this demo, so it kills none."""

    def __init__(self) -> None:
        super().__init__(
            "demo --chaos kills only servers and workers that it has started itself: end "
            "`execstream up` here, and name no servers in the environment."
        )


class Chaos:
    """Kills processes of a stack and of a supervisor, which start them again.

    Attributes:
        kills: their number by process.
    """

    def __init__(self, stack: "Stack", workers: Supervisor, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._stack = stack
        self._workers = workers
        self._chance = Random(seed)  # noqa: S311 - it chooses victims

    async def rage(self, demo: Demo, rate: float) -> None:
        """Kill while the demo sends, each time after the workers have caught up."""
        most_behind = rate * CAUGHT_UP or AT_ONCE
        for name in self._victims():
            since = asyncio.get_running_loop().time() + self._chance.uniform(*CALM)
            while not (  # noqa: ASYNC110 - others do it
                demo.is_sending and demo.looked_at > since and demo.behind <= most_behind
            ):
                await asyncio.sleep(POLL)
            await self._kill(name)
            demo.kills = self.kills.total()

    def _victims(self) -> Iterator[str]:
        """Names of processes without end; each comes once before one comes again."""
        while True:
            yield from self._chance.sample((*ROLES, *SERVERS), len(ROLES) + len(SERVERS))

    async def _kill(self, name: str) -> None:
        if name in SERVERS:
            await self._stack.kill(name)
        else:
            self._workers.kill(name)
        self.kills[name] += 1
        err.print(f"kill -9 of {name if name in SERVERS else f'worker {name}'}")


@asynccontextmanager
async def raging(chaos: Chaos | None, demo: Demo, rate: float) -> AsyncIterator[None]:
    """Kill while the context lasts, if there is a chaos."""
    if chaos is None:
        yield
        return
    demo.kills = 0
    killing = asyncio.create_task(chaos.rage(demo, rate))
    try:
        yield
    finally:
        await end(killing)
    if not killing.cancelled():
        killing.result()
