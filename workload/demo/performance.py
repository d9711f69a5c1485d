"""Sending simulated runs, and waiting until everything has been seen to take effect."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from execstream.agents.runtime.retries import ignoring_transient
from execstream.config.settings import Settings
from execstream.config.tasks import end
from execstream.kafka.producer import BulkProducer
from execstream.streams.topics import COMMANDS
from execstream.workload.demo.checking import PartitionSlice, check
from execstream.workload.demo.observer import Judged, Observer, Offsets, Outcomes
from execstream.workload.demo.receipt import Receipt
from execstream.workload.demo.witness import Witness
from execstream.workload.paced_sending import send_catalogue, send_paced
from execstream.workload.simulation import (
    Graph,
    Sent,
    Simulation,
    read_lines,
    simulate,
    write_lines,
)

INTERLEAVED = 20  # runs at a time: few, so that some complete soon
ENDLESS = 10**9  # runs
POLL = 0.1  # seconds
STATUS_POLL = 0.5  # seconds; counting runs is dearer than the rest
LOOKS_KEPT = 36_000  # an hour of them
PATIENCE = 60.0  # seconds without any progress until the rest counts as lost
ENDING = 60.0  # seconds for sent commands once the demo was asked to end; and for the check


class _Figures(NamedTuple):
    """Figures of all time, as far as they are remembered."""

    judged: Judged
    events: int
    redis_messages: int


class Demo:
    """One performance: `write`, `perform`, `receipt`, in this order.

    Attributes:
        started: simulated time begins here; no run is older.
        names: of graphs and blocks, by id.
        producer: counts sent and acknowledged commands, once there is one.
        outcomes: of the commands since this demo began, those of other producers among them.
        statuses: number of runs in each.
        events: published since then.
        redis_messages: the same on Redis.
        is_sending: whether commands are being sent now.
        looked_at: the loop's time at which the figures were complete last.
        kills: the number of killed processes; None: none are killed, and events are not read.
    """

    def __init__(
        self, graphs: Sequence[Graph], runs: int | None, rate: float, seed: int, file: Path
    ) -> None:
        self.started = datetime.now(UTC)
        self.names = dict(_names(graphs))
        self.producer: BulkProducer | None = None
        self.outcomes = Outcomes(0, 0, 0, 0, 0)
        self.statuses: Counter[str] = Counter()
        self.events = 0
        self.redis_messages = 0
        self.is_sending = False
        self.looked_at = 0.0
        self.kills: int | None = None
        self._witness: Witness | None = None
        self._begun = self._end = 0.0  # first sending and last acknowledgement, the loop's time
        self._graphs = graphs
        self._runs = runs
        self._rate = rate
        self._seed = seed
        self._file = file
        # The loop's time, and events until then.
        self._events_seen: deque[tuple[float, int]] = deque(maxlen=LOOKS_KEPT)
        self._before: Offsets = {}  # where the workers were
        self._after: Offsets = {}
        self._give_up_at = math.inf  # the loop's time

    def write(self) -> None:
        """Write the commands into the file, unless they are endless and written as they go."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._runs is not None:
            write_lines(self._file, self._simulation())

    async def perform(self, settings: Settings, stop: asyncio.Future[int]) -> None:
        """Send everything, or until `stop` is done, and wait until it has all taken effect."""
        stop.add_done_callback(lambda _: self._end_within(ENDING))
        async with Observer(settings) as seen:
            known = await send_catalogue(settings, self._graphs)
            await self._until(lambda: seen.catalogued(known))  # now the workers are ready, too
            figures = await self._figures(seen)
            self._before = figures.judged.places
            # Simulated time may be ahead of the clock: there may be younger runs of older demos.
            statuses = await seen.statuses(self.started)
            watching = [
                asyncio.create_task(self._watch(seen, figures)),
                asyncio.create_task(self._watch_statuses(seen, statuses)),
            ]
            try:
                topic = settings.topic_prefix + COMMANDS.name
                async with BulkProducer(settings.kafka, topic) as self.producer:
                    if self.kills is not None:
                        watching.append(await self._witnessing(seen, settings, self.producer))
                    self._begun = asyncio.get_running_loop().time()
                    self.is_sending = True
                    wanted = takewhile(lambda _: not stop.done(), self._records())
                    await send_paced(self.producer, wanted, self._rate)
                self.is_sending = False
                await self._settle(seen, self.producer)
            finally:
                await end(*watching)
            await self._look(seen, figures)
            self.statuses = await seen.statuses(self.started) - statuses

    async def receipt(
        self, settings: Settings, urls: dict[str, str], on_progress: Callable[[int, int], None]
    ) -> Receipt:
        """Check the rows and sum up; `on_progress` is called with the numbers of checked and of all
        commands. When all is good, the file is deleted.

        The check is cut short when the demo is asked to end, or `ENDING` after it began if the demo
        had been asked before.
        """
        if self._give_up_at < math.inf:
            self._end_within(ENDING)
        producer = self.producer
        if producer is None:
            raise RuntimeError("There is no receipt before the performance.")
        shares = [
            PartitionSlice(self._file, producer.sent, partition, producer.partitions, begin, end)
            for partition, end in self._after.items()
            if (begin := self._before.get(partition, 0)) < end
        ]
        verdicts = await check(settings, shares, on_progress, self._gives_up)
        others = sum(verdict.others or 0 for verdict in verdicts)
        waiting = sum(
            max(0, end - self._after.get(partition, 0)) for partition, end in producer.ends.items()
        )
        if any(verdict.others is None for verdict in verdicts):
            due = sum(share.end - share.begin for share in shares)
        else:
            due = max(0, producer.acknowledged + others - waiting)
        seconds = max(self._end - self._begun, POLL)
        receipt = Receipt(
            runs=sum(verdict.runs for verdict in verdicts),
            sent=producer.sent,
            acknowledged=producer.acknowledged,
            others=others,
            **self.outcomes._asdict(),
            lost=due - sum(self.outcomes),
            waiting=waiting,
            unchecked=sum(verdict.unchecked for verdict in verdicts),
            seconds=round(seconds, 3),
            commands_per_second=round(producer.sent / seconds),
            events=self.events,
            redis_messages=self.redis_messages,
            kills=self.kills,
            seen_as_events=self._witness.seen if self._witness else None,
            worst_delay=round(self._witness.worst_delay, 3) if self._witness else None,
            urls=urls,
            differences=[line for verdict in verdicts for line in verdict.differences],
        )
        if receipt.is_good:
            self._file.unlink()
        return receipt

    @property
    def behind(self) -> int:
        """The number of confirmed commands without an outcome, as of the last look."""
        acknowledged = self.producer.acknowledged if self.producer else 0
        return max(0, acknowledged - sum(self.outcomes))

    def cut_short(self) -> None:
        """Have the check end with the commands compared so far."""
        self._end_within(0)

    def _end_within(self, seconds: float) -> None:
        self._give_up_at = asyncio.get_running_loop().time() + seconds

    def _gives_up(self) -> bool:
        return asyncio.get_running_loop().time() > self._give_up_at

    def _simulation(self) -> Simulation:
        return simulate(
            self._graphs,
            runs=self._runs or ENDLESS,
            seed=self._seed,
            start=self.started,
            interleave=INTERLEAVED,
            # Runs last seconds and are sent in less: simulated time would soon be an hour ahead,
            # and live figures leave such steps out.
            latest=None if self._runs else lambda: datetime.now(UTC),
        )

    def _records(self) -> Iterable[Sent]:
        if self._runs is not None:
            return read_lines(self._file)
        return _written(self._file, self._simulation())

    async def _figures(self, seen: Observer) -> _Figures:
        events = sum((await seen.event_ends()).values())
        return _Figures(await seen.judged(), events, await seen.published())

    async def _watch(self, seen: Observer, before: _Figures) -> None:
        while True:
            with ignoring_transient():  # a server may be restarting
                await self._look(seen, before)
            await asyncio.sleep(POLL)

    async def _look(self, seen: Observer, before: _Figures) -> None:
        """Bring the figures up to date."""
        now = await self._figures(seen)
        self.outcomes = now.judged.outcomes.since(before.judged.outcomes)
        self._after = now.judged.places
        self.events = now.events - before.events
        self.redis_messages = now.redis_messages - before.redis_messages
        self.looked_at = asyncio.get_running_loop().time()
        self._events_seen.append((self.looked_at, self.events))

    async def _watch_statuses(self, seen: Observer, before: Counter[str]) -> None:
        while True:
            with ignoring_transient():
                self.statuses = await seen.statuses(self.started) - before
            await asyncio.sleep(STATUS_POLL)

    async def _witnessing(
        self, seen: Observer, settings: Settings, producer: BulkProducer
    ) -> "asyncio.Task[None]":
        """Begin to read the events of the commands from now on."""
        begins = await seen.event_ends()
        self._witness = Witness(self._before, await seen.bases())
        return asyncio.create_task(self._witness.watch(settings, begins, producer))

    async def _settle(self, seen: Observer, producer: BulkProducer) -> None:
        await self._until(lambda: seen.applied(producer.ends))
        due = await seen.events_due(producer.begins)

        async def all_told() -> bool:
            return self.events >= due

        await self._until(all_told)
        self._end = next(
            (time for time, events in self._events_seen if events >= due),
            asyncio.get_running_loop().time(),
        )
        ends = await seen.event_ends()
        if (witness := self._witness) is None:
            await self._until(lambda: seen.bridged(ends))
        else:  # and a Redis that was killed has forgotten how far the bridge was

            async def all_seen() -> bool:
                return witness.has_read(ends)

            await self._until(all_seen)

    async def _until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Return when it is so, nothing has moved for too long, or the demo has to end."""
        clock = asyncio.get_running_loop().time
        before, since = None, clock()
        while not await self._is_now(reached):
            now = (self.outcomes, self.events, self.redis_messages)
            if now != before:
                before, since = now, clock()
            elif clock() - since > PATIENCE:
                return
            if self._gives_up():
                return
            await asyncio.sleep(POLL)

    @staticmethod
    async def _is_now(reached: Callable[[], Awaitable[bool]]) -> bool:
        is_so = []
        with ignoring_transient():  # a server may be restarting
            is_so.append(await reached())
        return any(is_so)


def _names(graphs: Iterable[Graph]) -> Iterator[tuple[str, str]]:
    for graph in graphs:
        for each in (graph, *graph.sub_graphs):
            yield each.id, each.name
            for node in each.nodes:
                yield node.block_id, node.block


def _written(file: Path, records: Iterable[Sent]) -> Iterator[Sent]:
    """The same records, each written down before it is sent."""
    with file.open("wb") as lines:
        for record in records:
            lines.write(record.value + b"\n")
            yield record
