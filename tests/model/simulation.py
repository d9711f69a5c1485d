"""A seeded scheduler of two workers, which makes a random choice among all that may happen next.

Whatever the workers ask of servers waits until it is let through: each schedule is another
interleaving, with crashes, zombies, a swap, answers and fetches lost, repeated and stale. The clock
is the scheduler's too. Each step is taken by the model as well, which must allow it.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from aiokafka.errors import KafkaError

from execstream.agents.runtime.partition_buffer import FetchedRecords, PartitionBatch
from execstream.agents.runtime.partition_buffer import Record as KafkaRecord
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.streams.events import NOWHERE, decode_event
from tests.model.actors import MOST_RECORDS, PARTITION, Process
from tests.model.following import Follower
from tests.model.memory import Fenced, Memory
from tests.model.protocol import IDLE
from tests.model.records import log_of, records_of

FAULTS = 5
MOST_STEPS = 3_000
Happening = Callable[[], object]


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time passes when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def ready(self) -> bool:
        return bool(self._ready)  # type: ignore[attr-defined]

    def advance(self) -> bool:
        """To the next timer; false without one."""
        timers = [one for one in self._scheduled if not one.cancelled()]  # type: ignore[attr-defined]
        if timers:
            self.now = max(self.now, min(one.when() for one in timers))
        return bool(timers)


class Failed(AssertionError):
    """A schedule that did not end as it should."""


@dataclass
class World:
    """All that happens in one schedule. `off`: a guard of the fence that is left out."""

    seed: int
    faults: int = FAULTS
    off: str | None = None
    topic: list[bytes] = field(default_factory=list)
    gates: list[tuple[Process, asyncio.Future[None]]] = field(default_factory=list)
    furthest: tuple[int, int] = NOWHERE  # of the events in the topic
    dead: list[Process] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.records = records_of(Random(self.seed))
        self.log = log_of(self.records)
        self.chance = Random(f"schedule {self.seed}")
        self.memory = Memory(self.off)
        self.follower = Follower(self.log)

    async def run(self) -> None:
        """Until everything is applied and published; raises Failed or NotEnabled."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clock)
        loop.set_exception_handler(lambda *_: None)  # tasks of dead workers end as they like
        self.processes = [Process(self, 0), Process(self, 1)]
        for _ in range(MOST_STEPS):
            while loop.ready():  # noqa: ASYNC110 - that is what is waited for
                await asyncio.sleep(0)
            self.gates = [(one, gate) for one, gate in self.gates if not gate.done()]
            if self.error is not None:
                raise self.error
            self.check()
            if choices := self._choices(loop):
                self.chance.choice(choices)()
            elif not loop.advance():
                if self._is_over():
                    return
                self._restart_stuck()
            await asyncio.sleep(0)
        raise Failed(f"no end: {self.follower.trace[-30:]}")

    def check(self) -> None:
        """The model is where the code is, and nothing counts as published that is not."""
        live, memory = self.follower.state.live, self.memory
        at = (memory.next, memory.epoch, memory.effects())
        if at != (live.next, live.epoch, live.journal):
            raise Failed(f"the model is at {live}, the code at {at}")
        for process in self.processes:
            for owned in process.buffer.owned.values():
                is_event = owned.published > NOWHERE and self.log[owned.published[0]] >= 0
                if is_event and owned.published > self.furthest:  # dead letters have a topic
                    raise Failed(f"{owned.published} counts as published, not {self.furthest}")

    def strikes(self) -> bool:
        """Whether something asked of a server goes wrong."""
        strikes = self.faults > 0 and self.chance.random() < 0.05
        self.faults -= strikes
        return strikes

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return len(self.records)

    def gate(self, process: Process) -> asyncio.Future[None]:
        """What opens when the scheduler lets `process` go on."""
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append((process, gate))
        return gate

    def batch_size(self) -> int:
        """How many records a batch may have."""
        return self.chance.randint(1, MOST_RECORDS)

    def follow(self, action: str, process: Process, detail: str = "") -> None:
        self.follower.step(f"{action} {process.number}{detail}")

    def _choices(self, loop: Clock) -> list[Happening]:
        choices: list[Happening] = [partial(gate.set_result, None) for _, gate in self.gates]
        for process in self.processes:
            model = self.follower.state.workers[process.number]
            other = self.follower.state.workers[1 - process.number]
            if process.wire:
                choices.append(process.deliver)
            if process.cursor and process.cursor[1] < len(self.records) and len(process.wire) < 3:
                choices.append(partial(self._fetch, process))
            is_idle = model.phase == IDLE and not model.assigned and not process.is_claiming
            is_alone = not other.assigned and not self.processes[1 - process.number].is_claiming
            if is_idle and is_alone:
                choices.append(process.begin)
            if model.phase != IDLE and not model.assigned and not process.is_claiming:
                choices.append(partial(self._revoke, process))
            if self.faults > 0 and self.chance.random() < 0.1:
                is_zombie = is_idle and other.phase != IDLE
                choices += [
                    partial(self._suffer, one)
                    for one in self._disasters(process, is_zombie=is_zombie)
                ]
        if self.chance.random() < 0.02:
            choices.append(loop.advance)
        return choices

    def _suffer(self, disaster: Happening) -> None:
        self.faults -= 1
        disaster()

    def _disasters(self, process: Process, *, is_zombie: bool) -> Iterator[Happening]:
        yield partial(self.kill, process)
        if is_zombie:
            yield process.begin
        if process.wire:
            head = process.wire[0]
            yield partial(process.wire.remove, head)
            yield partial(process.wire.append, _fetched([*head], head.stamp, head.base))
        if self.follower.state.aside is None:
            yield self._swap
        first = self.chance.randrange(self.end)
        yield partial(process.wire.append, _fetched(self.records[first:], 0, 0))

    def _swap(self) -> None:
        """A rebuilt schema takes over: the same rows, and another epoch."""
        self.follower.step("lock")
        self.follower.step("exchange")
        self.memory.epoch += 1

    def _fetch(self, process: Process) -> None:
        assert process.cursor is not None
        stamp, base = process.cursor
        records = self.records[base : base + self.chance.randint(1, 5)]
        process.wire.append(_fetched(records, stamp, base))
        process.cursor = (stamp, base + len(records))

    def _revoke(self, process: Process) -> None:
        self.follow("revoke", process)
        process.buffer.lose_all()

    def kill(self, process: Process) -> None:
        """As with SIGKILL; another one starts in its place."""
        if process.is_dead:
            return
        process.is_dead = True
        crashed = f"crash {process.number}"
        if crashed in self.follower.enabled():
            self.follower.step(crashed)
        for owner, gate in self.gates:
            if owner is process:
                gate.cancel()
        self.dead.append(process)
        self.processes[process.number] = Process(self, process.number)

    def _restart_stuck(self) -> None:
        """As the probe does where the last fetch was lost."""
        for process in self.processes:
            owned = process.buffer.owned.get(0)
            at = process.cursor and process.cursor[1]
            is_waiting = owned is not None and owned.stamp == (process.cursor or (0, 0))[0]
            if owned is not None and is_waiting and at == self.end and owned.next < at:
                self.kill(process)
                return
        raise Failed(f"stuck after {self.follower.trace[-30:]}")

    def ended(self, process: Process, error: BaseException) -> None:
        """A task of `process` has failed: a worker ends then."""
        if isinstance(error, KafkaError | TimeoutError):
            self.kill(process)
        else:
            self.error = error

    # ---- what servers are asked ------------------------------------------------------------

    def committed(self, process: Process, move: OffsetCommit, rows: WriteSet) -> bool:
        try:
            was_committed = self.memory.commit(move, rows)
        except Fenced:
            self.follow("fenced", process)
            raise
        if self.strikes():
            self.follow("answer lost", process)
            raise ConnectionResetError("the answer got lost")
        self.follow("commit", process)
        return was_committed

    def left(self, process: Process, part: PartitionBatch) -> None:
        """A batch is not ours any more, and was not sent."""
        sent = self.follower.state.workers[process.number].commit
        if sent is not None and (sent.expected, sent.epoch) == (part.expected, part.owned.epoch):
            self.follow("leave", process)

    def claimed(self, process: Process) -> tuple[int, int]:
        model = self.follower.state.workers[process.number]
        self.follow("claim" if model.phase == IDLE else "reclaim", process)
        return self.memory.claim()

    def told(self, process: Process, values: Sequence[bytes], action: str) -> None:
        self.topic += values
        self.furthest = max(self.furthest, decode_event(values[-1]).source[1:])
        offsets = dict.fromkeys(decode_event(value).source[1] for value in values)
        for offset in offsets:
            self.follow(action, process)
            if self.follower.state.topic.last != offset:
                raise Failed(f"{offset} was published before {self.follower.state.topic.last}")

    def reader(self) -> list[bytes]:
        """What is left when repeats are dropped."""
        last, taken = (-1, -1, -1), list[bytes]()
        for value in self.topic:
            if (source := decode_event(value).source) > last:
                last, taken = source, [*taken, value]
        return taken

    def _is_over(self) -> bool:
        done = self.memory.next == len(self.records)
        return done and self.reader() == [one.value for one in self.memory.events()]


def _fetched(records: Sequence[KafkaRecord], stamp: int, base: int) -> FetchedRecords:
    return FetchedRecords(PARTITION, records, stamp, base)
