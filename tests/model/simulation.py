"""A seeded scheduler of two workers, which makes a random choice among all that may happen next.

Whatever the workers ask of servers waits until it is let through: each schedule is another
interleaving, with crashes, zombies, a swap, answers and fetches lost, repeated and stale. The clock
is the scheduler's too. Each step is taken by the model as well, which must allow it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from aiokafka.errors import KafkaError
from faust.types import TP

from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import PartitionBatch
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.streams.events import NOWHERE, decode_event
from tests.model.actors import MOST_RECORDS, TOPIC, Process
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
    """All that happens in one schedule. `off`: a guard of the fence that is left out. Lists are by
    partition; each has a model of its own.
    """

    seed: int
    faults: int = FAULTS
    off: str | None = None
    partitions: int = 1
    gates: list[tuple[Process, asyncio.Future[None]]] = field(default_factory=list)
    beside: int = 0  # commits while another one of the same worker was on its way
    dead: list[Process] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        source = Random(self.seed)
        # Of several partitions, the first has heavy commands, beside which the others go on.
        counts = [0] if self.partitions == 1 else [2, *[0] * (self.partitions - 1)]
        self.records = [records_of(source, n, heavy_runs=count) for n, count in enumerate(counts)]
        self.logs = [log_of(records) for records in self.records]
        self.topics: list[list[bytes]] = [[] for _ in self.records]
        self.furthest = [NOWHERE] * self.partitions  # of the events in the topic
        self.chance = Random(f"schedule {self.seed}")
        self.memory = Memory([0] * self.partitions, self.off)
        self.followers = [Follower(log) for log in self.logs]

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
        raise Failed(f"no end: {self._traces()}")

    def check(self) -> None:
        """The model is where the code is, and nothing counts as published that is not."""
        memory = self.memory
        for number, follower in enumerate(self.followers):
            live = follower.state.live
            at = (memory.next[number], memory.epoch, memory.effects(number))
            if at != (live.next, live.epoch, live.journal):
                raise Failed(f"the model is at {live}, the code at {at}")
        for process in self.processes:
            for number, owned in process.buffer.owned.items():
                furthest = self.furthest[number]
                is_event = owned.published > NOWHERE and self.logs[number][owned.published[0]] >= 0
                if is_event and owned.published > furthest:  # dead letters have a topic
                    raise Failed(f"{owned.published} counts as published, not {furthest}")

    def strikes(self) -> bool:
        """Whether something asked of a server goes wrong."""
        strikes = self.faults > 0 and self.chance.random() < 0.05
        self.faults -= strikes
        return strikes

    @property
    def ends(self) -> dict[TP, int]:
        """The offsets after the last records."""
        return {TP(TOPIC, number): len(records) for number, records in enumerate(self.records)}

    def gate(self, process: Process) -> asyncio.Future[None]:
        """What opens when the scheduler lets `process` go on."""
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append((process, gate))
        return gate

    def batch_size(self) -> int:
        """How many records a batch may have."""
        return self.chance.randint(1, MOST_RECORDS)

    def follow(
        self, action: str, process: Process, partitions: Iterable[int] | None = None
    ) -> None:
        """Have the models take a step; those of all partitions, if none are named."""
        for number in range(self.partitions) if partitions is None else partitions:
            self.followers[number].step(f"{action} {process.number}")

    def _choices(self, loop: Clock) -> list[Happening]:
        choices: list[Happening] = [partial(gate.set_result, None) for _, gate in self.gates]
        for process in self.processes:
            model = self.followers[0].state.workers[process.number]
            other = self.followers[0].state.workers[1 - process.number]
            if process.wire:
                choices.append(process.deliver)
            for tp, (_, base) in process.cursors.items():
                if base < self.ends[tp] and len(process.wire) < 3:
                    choices.append(partial(self._fetch, process, tp))
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
            again = FetchedRecords(head.tp, [*head], head.stamp, head.base)
            yield partial(process.wire.append, again)
        if self.followers[0].state.aside is None:
            yield self._swap
        for tp, end in self.ends.items():
            stale = self.records[tp.partition][self.chance.randrange(end) :]
            yield partial(process.wire.append, FetchedRecords(tp, stale, 0, 0))

    def _swap(self) -> None:
        """A rebuilt schema takes over: the same rows, and another epoch."""
        for follower in self.followers:
            follower.step("lock")
            follower.step("exchange")
        self.memory.epoch += 1

    def _fetch(self, process: Process, tp: TP) -> None:
        stamp, base = process.cursors[tp]
        records = self.records[tp.partition][base : base + self.chance.randint(1, 5)]
        process.wire.append(FetchedRecords(tp, records, stamp, base))
        process.cursors[tp] = (stamp, base + len(records))

    def _revoke(self, process: Process) -> None:
        self.follow("revoke", process)
        process.buffer.lose_all()

    def kill(self, process: Process) -> None:
        """As with SIGKILL; another one starts in its place."""
        if process.is_dead:
            return
        process.is_dead = True
        crashed = f"crash {process.number}"
        for follower in self.followers:
            if crashed in follower.enabled():
                follower.step(crashed)
        for owner, gate in self.gates:
            if owner is process:
                gate.cancel()
        self.dead.append(process)
        self.processes[process.number] = Process(self, process.number)

    def _restart_stuck(self) -> None:
        """As the probe does where the last fetch was lost."""
        for process in self.processes:
            for owned in process.buffer.owned.values():
                stamp, at = process.cursors[owned.tp]
                if owned.stamp == stamp and at == self.ends[owned.tp] and owned.next < at:
                    self.kill(process)
                    return
        raise Failed(f"stuck after {self._traces()}")

    def _traces(self) -> list[list[str]]:
        return [follower.trace[-30:] for follower in self.followers]

    def ended(self, process: Process, error: BaseException) -> None:
        """A task of `process` has failed: a worker ends then."""
        if isinstance(error, KafkaError | TimeoutError):
            self.kill(process)
        else:
            self.error = error

    # ---- what servers are asked ------------------------------------------------------------

    def folded(self, process: Process, part: PartitionBatch) -> None:
        number = part.owned.number
        follower = self.followers[number]
        if self.partitions > 1:
            place = (part.expected, part.owned.epoch)
            follower.drop(process.number, place, process.sent.get(number))
        follower.step(f"fold {process.number} to {part.next_offset}")

    def committed(self, process: Process, moves: Sequence[OffsetCommit], rows: WriteSet) -> bool:
        moved = {move.partition: move.epoch for move in moves}
        try:
            was_committed = self.memory.commit(moves, rows)
        except Fenced:
            process.answered(moved)
            self.follow("fenced", process, moved)
            for number in set(range(self.partitions)) - moved.keys():
                self.followers[number].release(process.number, moves[0].epoch)
            raise
        if self.strikes():
            self.follow("answer lost", process, moved)
            raise ConnectionResetError("the answer got lost")
        process.answered(moved)
        self.beside += bool(process.sent)
        self.follow("commit", process, moved)
        return was_committed

    def left(self, process: Process, part: PartitionBatch) -> None:
        """A batch is not ours any more, and was not sent."""
        number = part.owned.number
        sent = self.followers[number].state.workers[process.number].commit
        if sent is not None and (sent.expected, sent.epoch) == (part.expected, part.owned.epoch):
            process.answered([number])
            self.follow("leave", process, [number])

    def claimed(self, process: Process) -> tuple[list[int], int]:
        model = self.followers[0].state.workers[process.number]
        self.follow("claim" if model.phase == IDLE else "reclaim", process)
        return self.memory.claim()

    def told(self, process: Process, partition: int, values: Sequence[bytes], action: str) -> None:
        self.topics[partition] += values
        furthest = decode_event(values[-1]).source[1:]
        self.furthest[partition] = max(self.furthest[partition], furthest)
        offsets = dict.fromkeys(decode_event(value).source[1] for value in values)
        for offset in offsets:
            self.follow(action, process, [partition])
            last = self.followers[partition].state.topic.last
            if last != offset:
                raise Failed(f"{offset} was published before {last}")

    def readers(self) -> list[list[bytes]]:
        """What is left of each partition when repeats are dropped."""
        return [_reader(topic) for topic in self.topics]

    def _is_over(self) -> bool:
        done = self.memory.next == [len(records) for records in self.records]
        events = [self.memory.events(number) for number in range(self.partitions)]
        return done and self.readers() == [[one.value for one in some] for some in events]


def _reader(topic: Sequence[bytes]) -> list[bytes]:
    last, taken = (-1, -1, -1), list[bytes]()
    for value in topic:
        if (source := decode_event(value).source) > last:
            last, taken = source, [*taken, value]
    return taken
