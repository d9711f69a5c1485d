"""Workers made of the code, and what they ask of servers, which answer when the scheduler says."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from execstream.agents.apply.pipeline import Applier
from execstream.agents.apply.publisher import Publisher
from execstream.agents.apply.republisher import Republisher
from execstream.agents.runtime import tasks
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import (
    AssignedPartition,
    PartitionBatch,
    PartitionBuffer,
    Position,
)
from execstream.agents.runtime.phase_timer import Phases
from execstream.config.settings import Settings
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.storage.log.events import EventPage
from execstream.streams.events import decode_event
from tests.model.memory import Memory

TOPIC = "commands"
MOST_RECORDS = 6  # in a batch
SETTINGS = Settings(
    kafka_bootstrap="localhost:1", postgres_dsn="postgresql://localhost/x", redis_url="redis://x"
)
acting: ContextVar["Process"] = ContextVar("acting")
"""The worker whose code runs."""

_republishing: ContextVar[bool] = ContextVar("republishing", default=False)


class Scheduler(Protocol):
    """What workers need to know of the world."""

    memory: Memory
    topics: list[list[bytes]]

    @property
    def ends(self) -> Mapping[TP, int]: ...
    def gate(self, process: "Process") -> asyncio.Future[None]: ...
    def batch_size(self) -> int: ...
    def strikes(self) -> bool: ...
    def follow(
        self, action: str, process: "Process", partitions: Iterable[int] | None = None
    ) -> None: ...
    def folded(self, process: "Process", part: PartitionBatch) -> None: ...
    def claimed(self, process: "Process") -> tuple[list[int], int]: ...
    def told(
        self, process: "Process", partition: int, values: Sequence[bytes], action: str
    ) -> None: ...
    def committed(
        self, process: "Process", moves: Sequence[OffsetCommit], rows: WriteSet
    ) -> bool: ...
    def left(self, process: "Process", part: PartitionBatch) -> None: ...
    def ended(self, process: "Process", error: BaseException) -> None: ...


class Line:
    """A connection of `process`."""

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.is_busy = False

    async def turn(self) -> None:
        """Wait for an answer."""
        if self.is_busy:
            self.process.world.ended(self.process, AssertionError("asked twice at a time"))
        self.is_busy = True
        try:
            await self.process.turn()
        finally:
            self.is_busy = False

    async def get(self) -> "Line":
        return self

    def terminate(self) -> None:
        """Nothing is kept open."""

    async def ensure(self, *_: Any) -> None:
        """The days are there."""


class Claims:
    """The position store of `process`."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def claim(self, topic: str, earliest: Mapping[int, int]) -> list[Position]:  # noqa: ARG002
        world = self._process.world
        early = [*world.memory.next]
        await self._process.turn()
        positions, epoch = world.claimed(self._process)
        if world.memory.off == "claim order":
            positions = early
        return [Position(number, at, epoch) for number, at in enumerate(positions)]


class Broker:
    """The producer of `process`."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def get(self) -> "Broker":
        return self

    def create_batch(self) -> "Box":
        return Box()

    async def send_batch(self, box: "Box", _: str, *, partition: int) -> asyncio.Future[None]:
        arriving = self._arrive(box, partition, republishing=_republishing.get())
        return asyncio.ensure_future(arriving)

    async def _arrive(self, box: "Box", partition: int, *, republishing: bool) -> None:
        await self._process.turn()
        world = self._process.world
        if world.strikes():
            raise KafkaError
        action = "republish" if republishing else "publish"
        world.told(self._process, partition, box.values, action)

    async def send(self, *_: Any, **__: Any) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._process.turn())


class Box:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_: Any) -> bool:
        self.values.append(value)
        return True


class RepublisherFromMemory(Republisher):
    """The republisher, reading from memory."""

    def __init__(self, process: "Process", publisher: Publisher) -> None:
        super().__init__("", "", Line(process), publisher)  # type: ignore[arg-type]
        self._process = process

    async def _republish(self, *arguments: Any) -> None:
        _republishing.set(True)
        await super()._republish(*arguments)

    async def _dead_letters(self, *_: Any) -> list[Any]:
        return []  # they need not be in order

    async def _page(self, part: AssignedPartition, after: Any, until: int) -> EventPage:
        await self._process.turn()
        events = self._process.world.memory.events(part.number, after, until)
        return EventPage(events, events[-1].place if events else None)

    async def _last_published(self, _: Sequence[int]) -> dict[int, tuple[int, int]]:
        await self._process.turn()
        world = self._process.world
        world.follow("look", self._process)
        return {
            number: decode_event(topic[-1]).source[1:] if topic else (-1, -1)
            for number, topic in enumerate(world.topics)
        }


class Process:
    """One worker; `number` is the model's. It is its own consumer."""

    def __init__(self, world: Scheduler, number: int) -> None:
        self.world, self.number = world, number
        self.is_dead = self.is_claiming = False
        self.lock = asyncio.Lock()
        self.cursors: dict[TP, tuple[int, int]] = {}
        self.wire: list[FetchedRecords] = []
        self.sent: dict[int, tuple[int, int]] = {}  # batches without an answer, by partition
        self._woken = asyncio.Event()
        acting.set(self)
        publisher = Publisher("", "", "", Phases())
        publisher._producer = Broker(self)  # type: ignore[assignment]
        republisher = RepublisherFromMemory(self, publisher)

        def owned(parts: list[AssignedPartition]) -> None:  # as in `apply_commands`
            applier.drop_states()
            applier.republished = tasks.spawn(republisher.republish(parts, applier.republished))

        def lost() -> None:
            applier.drop_states()

        self.buffer = PartitionBuffer(TOPIC, Claims(self), owned, lost)
        self.applier = applier = Applier(SETTINGS, self.buffer, publisher, Phases())
        for name in ("_reading", "_writing", "_apart"):
            setattr(applier, name, Line(self))
        applier._days = Line(self)  # type: ignore[assignment]
        self._reading = tasks.spawn(self._read())

    async def turn(self) -> None:
        """Wait until the scheduler lets it through; whoever is dead ends here."""
        if not self.is_dead:
            await self.world.gate(self)
        if self.is_dead:
            raise asyncio.CancelledError

    def answered(self, partitions: Iterable[int]) -> None:
        for number in partitions:
            self.sent.pop(number, None)

    async def _read(self) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        while True:
            await self._woken.wait()
            self._woken.clear()
            while batch := await self.buffer.poll_batch(queue, self.world.batch_size()):
                await self.applier.apply(batch)

    def deliver(self) -> None:
        """Hand over what was fetched first, as Faust does."""
        self.buffer.receive([self.wire.pop(0)])
        self._woken.set()

    # ---- as a consumer ---------------------------------------------------------------------

    async def reclaim(self) -> None:
        await self.acquire()

    def begin(self) -> None:
        """Kafka assigns the partitions."""
        acting.set(self)
        tasks.spawn(self.acquire())

    async def acquire(self) -> None:
        self.is_claiming = True
        try:
            async with self.lock:
                owned = await self.buffer.claim(
                    {tp: (0, end) for tp, end in self.world.ends.items()}
                )
                await self.buffer.take_over(owned, self)
        finally:
            self.is_claiming = False

    async def jump(self, positions: Mapping[TP, int], stamp: int) -> None:
        self.cursors |= {tp: (stamp, at) for tp, at in positions.items()}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 0)
