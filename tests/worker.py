"""Real workers in processes of their own, on topics and tables of a test's own.

Also the program they run: `python -m tests.worker ROLE TIMING`, with settings in the environment.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from execstream.agents.worker import Timing, run_worker
from execstream.config.logs import configure_logging
from execstream.config.settings import SERVERS, Settings, read_settings
from execstream.devstack import Addresses
from execstream.kafka import header_decoding
from execstream.kafka.admin import apply_topics
from execstream.storage.schema.migrate import migrate
from execstream.streams.events import decode_event
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS, DEAD_LETTERS, EVENTS, TOPICS
from tests.forking import ForkedProcess, fork
from tests.names import Names, lent_names
from tests.orders import Order

HOME = Path(__file__).parents[1]
POLL = 0.02  # seconds
PATIENCE = 120.0  # seconds; a busy machine takes many times the usual
SESSION = 6.0  # seconds; the least a broker allows
USUAL = Timing()
QUICK = Timing(session_timeout=SESSION)
_MAX_REQUEST = 12 * 1024 * 1024  # bytes; above the largest record that the commands topic takes

PartitionOffset = tuple[int, int]  # partition and offset


async def until(holds: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """The first true answer of `holds`; TimeoutError without one in `patience` seconds."""
    async with asyncio.timeout(patience):
        while not (answer := await holds()):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(POLL)
        return answer


@dataclass
class Worker:
    """A running worker."""

    process: Process | ForkedProcess
    log_file: Path

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    def log(self) -> list[dict[str, Any]]:
        """The log so far, oldest first; a line that is not JSON is its own `event`."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(s) if s.startswith("{") else {"event": s} for s in lines]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    async def stop(self, patience: float = 20.0) -> int:
        """SIGTERM; its exit code."""
        if self.is_alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), patience)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@dataclass
class Installation:
    """Topics, tables and prefixes of one test, or of one module; and queries on them."""

    settings: Settings
    db: asyncpg.Pool
    folder: Path
    producer: AIOKafkaProducer
    reader: AIOKafkaConsumer
    workers: list[Worker] = field(default_factory=list)
    begun: int = 0  # workers, those that are still being started among them
    puts: list[PartitionOffset] = field(
        default_factory=list
    )  # where everything put so far is, in order

    def topic(self, name: str) -> str:
        return self.settings.topic_prefix + name

    def settings_with(self, **changes: Any) -> Settings:
        return self.settings.model_copy(update=changes)

    @asynccontextmanager
    async def worker(self, role: str = "apply", **options: Any) -> AsyncIterator[Worker]:
        """A worker, from the moment it owns partitions; it must still be alive at the end, unless
        the test has killed it, and stop when asked to.
        """
        worker = await self.start_worker(role, **options)
        try:
            await until(self._owns(worker))
            yield worker
            assert worker.is_alive or worker.process.returncode == -signal.SIGKILL, _tail(worker)
        finally:
            code = await worker.stop()
        assert code in (0, -signal.SIGKILL), _tail(worker)

    async def start_worker(
        self,
        role: str,
        *,
        program: str = "tests.worker",
        timing: Timing = USUAL,
        **changes: Any,
    ) -> Worker:
        """A worker that has only been started, with `changes` to the settings; the caller stops
        it."""
        self.begun += 1  # before anything is awaited: several may be started at once
        log_file = self.folder / f"{self.settings.schema_}-{role}-{self.begun}.log"
        environment = os.environ | self.settings_with(**changes).environment()
        arguments = (role, json.dumps(asdict(timing)))
        process = fork(program, arguments, environment, log_file)
        self.workers.append(Worker(process, log_file))
        return self.workers[-1]

    def _owns(self, worker: Worker) -> Callable[[], Awaitable[bool]]:
        async def owns() -> bool:
            assert worker.is_alive, _tail(worker)
            return bool(self.partitions_of(worker))

        return owns

    def partitions_of(self, worker: Worker) -> set[int]:
        """The partitions of the commands topic in its newest assignment."""
        commands = self.topic(COMMANDS.name)
        said = [line for line in worker.said("owns") if line["topic"] == commands]
        return set(map(int, said[-1]["positions"])) if said else set()

    # ---- putting and waiting ---------------------------------------------------------------

    async def put(self, orders: Iterable[Order]) -> list[PartitionOffset]:
        """Put records on the commands topic, each at the partition of its key unless it names one;
        return their positions.
        """
        sent = [await self._send(order) for order in orders]
        places = [(place.partition, place.offset) for place in await asyncio.gather(*sent)]
        self.puts += places
        return places

    async def _send(self, order: Order) -> Any:
        """The future of the record's place."""
        about: dict[str, Any] = {"key": order.key, "value": order.value}
        about["headers"] = list(order.headers)
        topic, partition = self.topic(COMMANDS.name), self.partition_of(order)
        if order.key is None and order.value is None:  # aiokafka refuses to send that by itself
            batch = self.producer.create_batch()
            batch.append(timestamp=order.timestamp, **about)
            return await self.producer.send_batch(batch, topic, partition=partition)
        return await self.producer.send(
            topic, partition=partition, timestamp_ms=order.timestamp, **about
        )

    @staticmethod
    def partition_of(order: Order) -> int:
        if order.partition is not None:
            return order.partition
        return partition_of(order.key or b"", COMMANDS.partitions)

    async def drained(self) -> None:
        """Return when everything on the commands topic is committed."""
        ends = await self._ends(COMMANDS.name)

        async def is_at_end() -> bool:
            assert any(one.is_alive for one in self.workers), _tail(self.workers[-1])
            rows = await self.db.fetch(
                "select partition, next_offset from consumer_offset where consumer = 'apply'"
            )
            found = {row["partition"]: row["next_offset"] for row in rows}
            return all(found.get(number, 0) >= end for number, end in ends.items())

        await until(is_at_end)

    # ---- looking ---------------------------------------------------------------------------

    async def commands(self) -> list[ConsumerRecord]:
        """Everything on the commands topic, by partition and offset."""
        ends = await self._ends(COMMANDS.name)
        return await self._read(COMMANDS.name, lambda seen: _reached(seen, ends))

    async def events(self) -> dict[int, list[ConsumerRecord]]:
        """The published events, by partition, once all that is committed has been."""
        wanted = await self.last_sources()

        def is_complete(seen: dict[int, ConsumerRecord]) -> bool:
            return all(
                number in seen and _source(seen[number]) >= place
                for number, place in wanted.items()
            )

        # A worker that was cut off may publish older events behind the last one.
        return _by_partition(await self._read(EVENTS.name, is_complete, _source))

    async def events_so_far(self) -> dict[int, list[ConsumerRecord]]:
        """The published events, by partition."""
        ends = await self._ends(EVENTS.name)
        return _by_partition(await self._read(EVENTS.name, lambda seen: _reached(seen, ends)))

    async def last_sources(self) -> dict[int, PartitionOffset]:
        """Source offset and index of the last event that is due, by partition."""
        last = await self.db.fetch(
            """select source_partition as p, max(array[source_offset, source_index]) as place from (
                   select source_partition, source_offset, source_index from journal
                   union all select source_partition, source_offset, 0 from refusal
                   union all select source_partition, source_offset, 0 from kv_journal) said
               group by 1"""
        )
        return {row["p"]: tuple(row["place"]) for row in last}

    async def dead_letters(self) -> list[ConsumerRecord]:
        """The dead-letter topic, once it has as many as the table."""
        count = await self.db.fetchval("select count(*) from dead_letter")

        async def are_all_there() -> bool:
            return bool(sum((await self._ends(DEAD_LETTERS.name)).values()) >= count)

        await until(are_all_there)
        ends = await self._ends(DEAD_LETTERS.name)
        return await self._read(DEAD_LETTERS.name, lambda seen: _reached(seen, ends))

    async def _ends(self, name: str) -> dict[int, int]:
        ends = await self.reader.end_offsets(self._partitions(name))
        return {tp.partition: end for tp, end in ends.items()}

    async def _read(
        self,
        name: str,
        is_complete: Callable[[dict[int, ConsumerRecord]], bool],
        order: Callable[[ConsumerRecord], Any] = lambda record: record.offset,
    ) -> list[ConsumerRecord]:
        """A topic from its beginning; `is_complete` is asked with the greatest record of each
        partition by `order`, which is the last one by default."""
        found: list[ConsumerRecord] = []
        last: dict[int, ConsumerRecord] = {}
        partitions = self._partitions(name)
        self.reader.assign(partitions)
        await self.reader.seek_to_beginning(*partitions)
        async with asyncio.timeout(PATIENCE):
            while not is_complete(last):
                for tp, records in (await self.reader.getmany(timeout_ms=200)).items():
                    found += records
                    before = last.get(tp.partition, records[0])
                    last[tp.partition] = max(before, *records, key=order)
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def _partitions(self, name: str) -> list[TopicPartition]:
        counts = {topic.name: topic.partitions for topic in TOPICS}
        return [TopicPartition(self.topic(name), number) for number in range(counts[name])]


def _reached(seen: dict[int, ConsumerRecord], ends: dict[int, int]) -> bool:
    return all(n in seen and seen[n].offset + 1 >= end for n, end in ends.items() if end)


def _by_partition(records: Iterable[ConsumerRecord]) -> dict[int, list[ConsumerRecord]]:
    by_partition: dict[int, list[ConsumerRecord]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    return by_partition


def _source(event: ConsumerRecord) -> PartitionOffset:
    """Source offset and index of an event, whatever numbers are in it."""
    return decode_event(event.value or b"").source[1:]


def _tail(worker: Worker) -> str:
    return "\n".join(worker.log_file.read_text().splitlines()[-40:])


def settings_at(servers: Addresses, names: Names | None = None) -> Settings:
    """Settings of `servers` with `names` on them; workers listen at no port."""
    settings = Settings(apply_port=0, tally_port=0, bridge_port=0, http_rate=10_000).at(
        **{server: getattr(servers, server) for server in SERVERS}
    )
    if names is None:
        return settings
    return settings.model_copy(
        update={
            "topic_prefix": names.topic_prefix,
            "schema_": names.schema,
            "redis_prefix": names.redis_prefix,
            "group_prefix": names.group_prefix,
        }
    )


@asynccontextmanager
async def installation(
    servers: Addresses, folder: Path, replicas: int = 1
) -> AsyncIterator[Installation]:
    """Migrated tables and all topics, under names of their own, with so many replicas."""
    async with lent_names(servers) as names:
        await apply_topics(servers.kafka_bootstrap, names.topic_prefix, replicas)
        await migrate(servers.postgres_dsn, names.schema)
        async with opened(settings_at(servers, names), folder) as own:
            yield own


@asynccontextmanager
async def opened(settings: Settings, folder: Path) -> AsyncIterator[Installation]:
    """Open the tables and topics that are there under the names of `settings`."""
    header_decoding.install()  # tests read back data that is only so readable
    async with (
        asyncpg.create_pool(
            settings.postgres, min_size=1, server_settings={"search_path": settings.schema_}
        ) as db,
        _started(
            AIOKafkaProducer(
                bootstrap_servers=settings.kafka,
                acks="all",
                enable_idempotence=True,
                linger_ms=2,
                max_request_size=_MAX_REQUEST,
            )
        ) as producer,
        _started(
            AIOKafkaConsumer(
                bootstrap_servers=settings.kafka,
                enable_auto_commit=False,
                isolation_level="read_committed",
                max_partition_fetch_bytes=_MAX_REQUEST,
            )
        ) as reader,
    ):
        yield Installation(settings, db, folder, producer, reader)


@asynccontextmanager
async def _started(client: Any) -> AsyncIterator[Any]:
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def transacting(place: Installation) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that writes in transactions."""
    producer = AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, transactional_id=place.settings.schema_
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def main() -> None:
    role, timing = sys.argv[1:]
    settings = read_settings()
    configure_logging(settings)
    run_worker(role, settings, Timing(**json.loads(timing)))


if __name__ == "__main__":
    main()
