"""Faust carrying one event per fetch, and seeking to positions that we keep ourselves.

Stock Faust costs some 225 µs of CPU per record and commits offsets that can run ahead of the
effect. Two of its extension points, the scheduler and the schema, let it carry one event per fetch,
with the fetched records as its value; overriding `perform_seek` makes it start where the position
store says. Faust's deliveries are not trusted: each set of fetched records is stamped, in the
consumer's thread, with the seek it follows and the offset at which the fetch continued.

`docs/architecture.md` explains why; a test asserts that the private names used here exist.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import wraps
from typing import Any, cast

import faust
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from execstream.agents.runtime.fetch_waits import Fetching, wait_longer_when_idle
from execstream.agents.runtime.fetched_records import FetchedRecords
from execstream.agents.runtime.partition_buffer import Ends, PartitionBuffer
from execstream.agents.runtime.retries import is_transient, note_waiting, waiting
from execstream.agents.runtime.tasks import spawn
from execstream.config.identity import Identity
from execstream.kafka.header_decoding import FetchBudget, fetch_budget
from execstream.kafka.partition_count import PartitionsChanged, check_partitions

log = structlog.get_logger(__name__)

# Services log by the name of their module; the logs of our subclasses go where Faust's go.
_FAUST = logging.getLogger("faust")

CLAIM_PATIENCE = 20.0  # seconds that Faust waits for a seek before it continues without
BROKER_RETRY = 1.0  # seconds
REFUSAL_RETRY = 1.0  # seconds
LADEN_PAUSE = 0.05  # seconds until a partition that is laden no more is fetched again, at most
STOP_PATIENCE = 5.0  # seconds for work in flight at the end
TIMER_PATIENCE = 2.0  # seconds of these for timers at work, which a server may keep waiting


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Runs in a thread and loop of its own; so does everything named `_…` here."""

    logger = _FAUST

    def __post_init__(self) -> None:
        super().__post_init__()
        # Where the next fetch of a partition goes on: (seek number, offset).
        self._cursors: dict[TP, tuple[int, int]] = {}
        self.fetched_at = time.monotonic()  # when the last fetch returned, with records or without

    async def on_start(self) -> None:
        await _until_broker_answers(super().on_start)
        fetcher = self._ensure_consumer()._fetcher
        wait_longer_when_idle(fetcher, cast(App, self.app).fetching, self._laden)

    def _laden(self) -> frozenset[TP]:
        return frozenset().union(*[one.laden for one in _buffers(self.app).values()])

    def _create_worker_consumer(self, *args: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(*args)
        app = cast(App, self.app)
        consumer._fetch_min_bytes, consumer._fetch_max_wait_ms = app.fetching
        consumer._group_instance_id = app.group_instance
        consumer._isolation_level = "read_committed"  # aborted records are not commands
        return consumer

    async def partition_counts(self) -> Mapping[str, int]:
        """Partitions by topic, as a broker has them now."""
        counts: Mapping[str, int] = await self.call_thread(self._partition_counts)
        return counts

    async def _partition_counts(self) -> Mapping[str, int]:
        cluster = await self._ensure_consumer()._client.fetch_all_metadata()
        return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        # Until our own seek, fetched records are unstamped, and so are dropped.
        self._cursors.clear()
        return await super().seek_to_committed()

    async def jump(self, positions: Mapping[TP, int], stamp: int) -> None:
        """Seek to `positions`; records fetched from there carry `stamp`."""
        await self.call_thread(self._jump, positions, stamp)

    async def _jump(self, positions: Mapping[TP, int], stamp: int) -> None:
        # No await between stamping and seeking: they happen as one.
        self._cursors.update({tp: (stamp, offset) for tp, offset in positions.items()})
        await self._seek_wait(self._ensure_consumer(), positions)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's
        max_records: int | None = None,
    ) -> Any:
        if laden := self._laden():
            active_partitions = active_partitions - laden
            if not active_partitions:  # which aiokafka would take for all
                await asyncio.sleep(LADEN_PAUSE)
                self.fetched_at = time.monotonic()
                return {}
            timeout = LADEN_PAUSE
        budget = fetch_budget.set(FetchBudget(self._go_on))
        try:
            fetched: Any = await super()._fetch_records(
                consumer, active_partitions, timeout, max_records
            )
        finally:
            fetch_budget.reset(budget)
        self.fetched_at = time.monotonic()
        # aiokafka takes from partitions in the order in which their batches came: one that is not
        # at its end would use up the budget of all the others again and again.
        left = self._ensure_consumer()._fetcher._records
        for tp in fetched.keys() & left.keys():
            left.move_to_end(tp)
        # No await between taking the records and stamping them.
        for tp, records in fetched.items():
            if tp.topic in _buffers(self.app):
                stamp, base = self._cursors.get(tp, (0, 0))
                fetched[tp] = FetchedRecords(tp, records, stamp, base)
                if stamp:
                    self._cursors[tp] = (stamp, records[-1].offset + 1)
        return fetched

    def _go_on(self) -> None:
        """Have the fetch look again at the records it holds, as when a broker has answered."""
        for waiter in tuple(self._ensure_consumer()._fetcher._fetch_waiters):
            if not waiter.done():
                waiter.set_result(None)

    def ends(self, tp: TP) -> Ends | None:
        """See `Consumer.ends`. Called from the main thread: whatever is looked at may be gone."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        state = assignment and assignment.state_value(tp)
        _, read = self._cursors.get(tp, (0, None))
        if not state or read is None or state.lso is None or not state.has_valid_position:
            return None
        # Beyond the last record may be a transaction marker, which is never delivered.
        stable = read if state.position >= state.lso else state.lso
        return Ends(stable, state.highwater if state.highwater > state.lso else stable)


class Consumer(driver.Consumer):
    """Claims partitions in the position store and seeks to the positions it returns."""

    logger = _FAUST

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        self.lock = asyncio.Lock()
        self._assignment_lost = False
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # The methods, not the signals of the same names: those come when recovery may have begun.
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._assignment_lost = True
        for buffer in _buffers(self.app).values():
            buffer.lose_all()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._assignment_lost = False
        await super().on_partitions_assigned(assigned, generation_id)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full buffer delays fetches by itself. Faust would leave `tp` out of the
        next fetch, which then waits for the other partitions, while aiokafka asks for none of them
        until its records of `tp` are 100 ms old.
        """

    async def perform_seek(self) -> None:
        """Faust gives this a time limit and then goes on; the claim goes on too."""
        await asyncio.wait([spawn(self._acquire())], timeout=CLAIM_PATIENCE)

    async def jump(self, positions: Mapping[TP, int], stamp: int) -> None:
        await self._thread.jump(positions, stamp)

    def ends(self, tp: TP) -> Ends | None:
        """The end of the topic at the last fetch; None before the first, or when it is not ours."""
        return self._thread.ends(tp)

    @property
    def fetched_at(self) -> float:
        """The time at which the last fetch returned, by `time.monotonic`."""
        return self._thread.fetched_at

    async def reclaim(self) -> None:
        """Claim the assigned partitions again, as if they had just been assigned."""
        await self._acquire()

    async def _acquire(self) -> None:
        """Claim the assigned partitions, until it works, the assignment is gone, or we stop."""
        async with self.lock:
            try:
                await self._retry_claim(self.app.consumer_generation_id)
            finally:
                waiting.pop("claim", None)

    async def _retry_claim(self, generation: int) -> None:
        while not self._is_over(generation):
            try:
                await super().perform_seek()
                await self._check_partitions()
                if await self._claim(generation):
                    return
            except PartitionsChanged as refusal:
                self._refuse(refusal)
                await asyncio.sleep(REFUSAL_RETRY)
            except Exception as error:
                if self.app.should_stop:
                    return  # the connections it uses are being closed
                if not is_transient(error):
                    raise
                log.warning("claim_retry", error=note_waiting("claim", error))
                await asyncio.sleep(0.3)

    async def _check_partitions(self) -> None:
        """Raise PartitionsChanged where the partitions of a topic of ours differ from the
        configured count.
        """
        counts = await self._thread.partition_counts()
        for topic in _buffers(self.app):
            if topic in counts:
                check_partitions(topic, counts[topic])
        cast(App, self.app).refusal = None

    def _refuse(self, refusal: PartitionsChanged) -> None:
        app = cast(App, self.app)
        if app.refusal is None:
            log.error("refuses", reason=str(refusal))
        app.refusal = str(refusal)

    def _is_over(self, generation: int) -> bool:
        is_stale = self._assignment_lost or generation != self.app.consumer_generation_id
        return is_stale or self.app.should_stop

    async def _claim(self, generation: int) -> bool:
        for buffer in _buffers(self.app).values():
            mine = sorted(tp for tp in self.assignment() if tp.topic == buffer.topic)
            if not mine:
                continue
            earliest = await self.earliest_offsets(*mine)
            end = await self.highwaters(*mine)
            owned = await buffer.claim({tp: (earliest[tp], end[tp]) for tp in mine})
            if self._is_over(generation):
                return False
            if not await buffer.take_over(owned, self):
                return False
        return True


class Producer(driver.Producer):
    """Faust's own producer, for changelogs of tables; set to confirm everything, in order."""

    logger = _FAUST

    async def on_start(self) -> None:
        await _until_broker_answers(super().on_start)

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class Transport(driver.Transport):
    Consumer = Consumer
    Producer = Producer


class Fetch:
    """One fetch, dressed as a record for Faust; topic and offset are of its first stretch."""

    timestamp = timestamp_type = 0
    headers = key = checksum = None
    serialized_key_size = serialized_value_size = 0

    def __init__(self, fetches: list[FetchedRecords]) -> None:
        self.topic = fetches[0].tp.topic
        self.partition = fetches[0].tp.partition
        self.offset = fetches[0][-1].offset
        self.value = fetches


class OneEventPerFetch(DefaultSchedulingStrategy):
    """Each topic of a fetch becomes one event; everything unstamped goes Faust's own way."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        by_topic: dict[str, list[FetchedRecords]] = {}
        for tp, fetched in records.items():
            if isinstance(fetched, FetchedRecords) and fetched:
                by_topic.setdefault(tp.topic, []).append(fetched)
        for fetches in by_topic.values():
            yield fetches[0].tp, Fetch(fetches)
        others = {tp: some for tp, some in records.items() if not isinstance(some, FetchedRecords)}
        yield from super().iterate(others)


class Passthrough(faust.Schema[Any, Any]):
    """Hands the fetched records to the agent unchanged."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value


async def _until_broker_answers(start: Callable[[], Awaitable[None]]) -> None:
    """Stock Faust exits when the broker is unavailable at start."""
    while True:
        try:
            await start()
            return
        except KafkaConnectionError as error:
            log.warning("broker_away", error=str(error))
            await asyncio.sleep(BROKER_RETRY)


def _buffers(app: Any) -> dict[str, PartitionBuffer]:
    return cast(App, app).buffers


class App(faust.App):
    """A Faust app that reads its input topics through partition buffers."""

    logger = _FAUST
    identity: Identity

    def __init__(
        self, *args: Any, fetching: Fetching, group_instance: str | None = None, **options: Any
    ) -> None:
        self.buffers: dict[str, PartitionBuffer] = {}
        # The reason for reading nothing, if an operator has to mend it.
        self.refusal: str | None = None
        self.fetching = fetching
        self.group_instance = group_instance
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._turns: list[asyncio.Lock] = []  # of each timer: held while it works
        super().__init__(*args, **options)

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have `close` finish the work in flight when the app stops; by then, fetching has ended,
        and no timer works any more. All such calls have STOP_PATIENCE together.
        """
        self._closers.append(close)

    def timer(self, interval: Any, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        """See `faust.App.timer`. Faust ends its timers after `on_stop`: those that are due until
        then do not begin, so that `on_close` has their connections to itself.
        """
        declare = super().timer(interval, *args, **options)

        def declare_exclusive(work: Callable[[], Awaitable[None]]) -> Any:
            turn = asyncio.Lock()
            self._turns.append(turn)

            @wraps(work)
            async def take_turn() -> None:
                async with turn:
                    if not self.should_stop:
                        await work()

            return declare(take_turn)

        return declare_exclusive

    async def on_stop(self) -> None:
        await super().on_stop()
        for buffer in self.buffers.values():
            buffer.stop()
        try:
            async with asyncio.timeout(STOP_PATIENCE):
                turns = [asyncio.ensure_future(turn.acquire()) for turn in self._turns]
                if turns:
                    await asyncio.wait(turns, timeout=TIMER_PATIENCE)
                await asyncio.gather(*(close() for close in self._closers))
        except TimeoutError:
            log.warning("left_unfinished")  # to the next owner, as after a kill

    def read(self, buffer: PartitionBuffer) -> Any:
        """The channel to declare an agent on, for `buffer`'s topic."""
        self.buffers[buffer.topic] = buffer
        return self.topic(buffer.topic, schema=Passthrough(), acks=False)

    async def hint(self, buffer: PartitionBuffer) -> None:
        """Commit our positions to Kafka: for tools that show lag, nothing reads them back."""
        if buffer.owned and not self.rebalancing:
            consumer = cast(Consumer, self.consumer)
            await consumer._commit({part.tp: part.done for part in buffer.owned.values()})
