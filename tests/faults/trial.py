"""One trial: load on workers of its own, faults in it, and the state when all is quiet."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from execstream.devstack import Stack
from execstream.kafka.producer import BulkProducer
from execstream.streams.append_time import append_time
from execstream.streams.topics import CATALOGUE, COMMANDS, EVENTS
from execstream.workload.reference import Reference
from execstream.workload.simulation import catalogue, load_graphs
from execstream.workload.simulation.wire import encode
from tests.faults.feeding import Feeder, small_records
from tests.faults.findings import Findings, look, unpublished
from tests.faults.lag import Lag
from tests.faults.listening import Listener
from tests.faults.patience import Impatient, reached
from tests.faults.progress import Offsets, ends_of, from_postgres, from_redis
from tests.faults.workers import PROJECT, TERMINATION, Worker
from tests.worker import Installation, installation

_SET_ASIDE = "select sum(quarantined) from consumer_offset where consumer = 'apply'"
PAUSE = 2.0  # seconds between a recovery and the next fault, at most


@dataclass
class Outcome:
    """The result of a trial. `recoveries` in seconds; `said`: events of the workers' logs."""

    trials: int = 0
    acknowledged: int = 0
    consumed: int = 0
    set_aside: int = 0
    findings: Findings = field(default_factory=Findings)
    recoveries: list[float] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of the table: effects that are no faults

    @property
    def is_good(self) -> bool:
        return self.findings.is_clean and not self.failures


@dataclass
class Trial:
    """A running installation. `redis_stays`: Redis is not killed, so the listener receives all."""

    stack: Stack
    installation: Installation
    feeder: Feeder
    appliers: list[Worker]
    bridge: Worker
    listener: Listener
    redis_stays: bool
    chance: Random
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self._struck_at = 0.0
        self._applied = from_postgres(self.installation)
        self._told = from_redis(self.installation)
        self._events = ends_of(self.installation, EVENTS.name)
        self.applying = Lag(self._applied, self._acknowledged)
        self.bridging = Lag(self._told, self._events)

    # ---- with faults -----------------------------------------------------------------------

    async def begin(self) -> None:
        """Return when commands flow."""
        self.bridge.begin()
        for worker in self.appliers:
            worker.begin()
        self.feeder.begin()
        await reached("The first commit", self._applied, {0: 1})
        self.applying.begin()
        self.bridging.begin()
        await self.applying.recovered(time.monotonic())

    async def suffer(
        self, fault: Callable[["Trial"], Awaitable[None]], *, lag: Lag | None = None
    ) -> None:
        """One fault at a random moment; return when it is over."""
        self.outcome.trials += 1
        await asyncio.sleep(self.chance.uniform(0, PAUSE))
        self.struck()
        await fault(self)
        self.outcome.recoveries.append(await (lag or self.applying).recovered(self._struck_at))

    def struck(self) -> None:
        """Measure the recovery from now on: a fault that was prepared for begins."""
        self._struck_at = time.monotonic()

    # ---- afterwards ------------------------------------------------------------------------

    async def finish(self) -> Outcome:
        """Stop feeding, let everything come to its end, stop the workers, look."""
        outcome = self.outcome
        await self.feeder.stop()
        await self.applying.stop()
        reference = await self._fed_reference()
        outcome.acknowledged = self.feeder.acknowledged
        outcome.consumed = sum(reference.counts.values())
        if outcome.consumed < outcome.acknowledged:
            missing = outcome.acknowledged - outcome.consumed
            outcome.failures.append(f"The broker has lost {missing} acknowledged records.")
        try:
            await self._come_to_the_end()
            await self.bridging.stop()
            await self._stop_workers()
            outcome.set_aside = await self._set_aside()
            outcome.findings = await look(
                self.installation, reference, self.listener, redis_stayed=self.redis_stays
            )
        except Impatient as error:
            outcome.failures.append(str(error))
        except TimeoutError:
            outcome.failures += await unpublished(self.installation)
        for worker in (*self.appliers, self.bridge):
            outcome.failures += worker.unplanned
            outcome.said += worker.told()
        return outcome

    async def close(self) -> None:
        await self.feeder.stop()
        await self.applying.stop()
        await self.bridging.stop()
        for worker in (*self.appliers, self.bridge):
            await worker.abandon()
        await self.listener.stop()

    async def _set_aside(self) -> int:
        return int(await self.installation.db.fetchval(_SET_ASIDE) or 0)

    async def _fed_reference(self) -> Reference:
        reference = Reference()
        records = await self.installation.commands()

        def feed() -> None:
            for record in records:
                place = (record.partition, record.offset)
                reference.feed(*place, record.key, record.value, append_time(record))

        await asyncio.to_thread(feed)
        return reference

    async def _come_to_the_end(self) -> None:
        commands = await ends_of(self.installation, COMMANDS.name)() or {}
        await reached("apply", self._applied, commands)
        await self.installation.events()  # waits until everything committed is published
        events = await self._events() or {}
        await reached("bridge", self._told, events)

    async def _stop_workers(self) -> None:
        for worker in (*self.appliers, self.bridge):
            code, seconds = await worker.stop()
            if code != 0:
                self.outcome.failures.append(
                    f"{worker.role} ended with {code} after SIGTERM, {seconds:.1f} s later, and "
                    f"should with 0 within {TERMINATION:.0f} s."
                )

    async def _acknowledged(self) -> Offsets:
        return dict(self.feeder.ends)


@asynccontextmanager
async def trial(
    stack: Stack,
    folder: Path,
    *,
    seed: int,
    rate: int = 1_000,
    appliers: int = 2,
    redis_stays: bool = True,
    within: tuple[str, ...] = (),
    replicas: int = 1,
) -> AsyncIterator[Trial]:
    """A trial with load, `rate` commands per second; `within`: runs the first worker's command."""
    graphs = load_graphs(PROJECT / "examples" / "graphs")
    async with installation(stack, folder, replicas) as place:
        settings = place.settings
        await _tell_catalogue(place, catalogue(graphs))
        listener = Listener(settings.redis, settings.redis_prefix)
        await listener.begin()
        topic = place.topic(COMMANDS.name)
        running = Trial(
            stack=stack,
            installation=place,
            feeder=Feeder(stack.kafka_bootstrap, topic, small_records(graphs, seed), rate),
            appliers=[
                Worker("apply", settings, folder / f"{settings.schema_}-apply-{number}.log")
                for number in range(appliers)
            ],
            bridge=Worker("bridge", settings, folder / f"{settings.schema_}-bridge.log"),
            listener=listener,
            redis_stays=redis_stays,
            chance=Random(seed),
        )
        running.appliers[0].within = within
        try:
            await running.begin()
            yield running
        finally:
            await running.close()


async def _tell_catalogue(place: Installation, entries: Iterator[tuple[str, object]]) -> None:
    topic = place.topic(CATALOGUE.name)
    async with BulkProducer(place.settings.kafka, topic) as producer:
        for key, value in entries:
            await producer.add(key.encode(), encode(value))
