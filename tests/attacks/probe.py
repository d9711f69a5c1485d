"""The time that ordinary commands wait for their commit while something else happens."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from execstream.streams.topics import COMMANDS
from tests.orders import Orders
from tests.worker import POLL, Installation, until

RATE = 20  # commands a second on each partition


@dataclass
class Probe:
    """One run on each partition, to which small commands are sent all the time.

    Attributes:
        waits: by partition, when a command was sent and the seconds until its commit.
    """

    place: Installation
    waits: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _pending: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))

    def standstill(self, since: float, partitions: set[int]) -> float:
        """The longest wait of a command of these partitions that was sent after `since`, or that
        waits now."""
        now = time.monotonic()
        waits = [
            wait for one in partitions for sent, wait in self.waits[one] if sent + wait >= since
        ]
        waits += [now - sent for one in partitions for sent, _ in self._pending[one]]
        return max(waits, default=0.0)

    async def settled(self, since: float) -> None:
        """Return when a command that was sent after `since` is committed on each partition."""

        async def is_settled() -> bool:
            return all(
                self.waits[one] and self.waits[one][-1][0] >= since
                for one in range(COMMANDS.partitions)
            )

        await until(is_settled, patience=180)

    async def send(self) -> None:
        """Send until cancelled."""
        runs = _one_run_per_partition()
        await self.place.put(run.create() for run in runs.values())
        loop = asyncio.get_running_loop()
        begun, round_ = loop.time(), 0
        while True:
            round_ += 1
            await asyncio.sleep(max(0.0, begun + round_ / RATE - loop.time()))
            sent = time.monotonic()
            orders = [run.order("graph.update", stats={"round": round_}) for run in runs.values()]
            for partition, offset in await self.place.put(orders):
                self._pending[partition].append((sent, offset))

    async def watch(self) -> None:
        """Look for commits until cancelled."""
        while True:
            rows = await self.place.db.fetch(
                "select partition, next_offset from consumer_offset where consumer = 'apply'"
            )
            now = time.monotonic()
            for partition, next_offset in rows:
                pending = self._pending[partition]
                while pending and pending[0][1] < next_offset:
                    sent, _ = pending.pop(0)
                    self.waits[partition].append((sent, now - sent))
            await asyncio.sleep(POLL)


@asynccontextmanager
async def probing(place: Installation) -> AsyncIterator[Probe]:
    """A probe while the context lasts."""
    probe = Probe(place)
    tasks = [asyncio.create_task(probe.send()), asyncio.create_task(probe.watch())]
    try:
        yield probe
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                raise error


def _one_run_per_partition() -> dict[int, Orders]:
    found: dict[int, Orders] = {}
    while len(found) < COMMANDS.partitions:
        run = Orders()
        found.setdefault(Installation.partition_of(run.start()), run)
    return found
