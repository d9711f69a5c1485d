"""B4J, the ceiling: bare aiokafka and asyncpg that write the rows, journal, events and fence of
execstream, through its own schema functions, without Faust and without generality.

The usual commands are folded by hand (`usual_commands.py`). All others, the odd ones among them,
take the way of the product: `decode`, `fold`. States stay in memory and are never loaded, so it
could not start again; it does not reply, export metrics, quarantine or survive a failure.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from bench.contenders.contender import BATCH, Progress, commands_topic, connect, read_job
from bench.contenders.usual_commands import Event, UsualWriteSet
from execstream.agents.apply.dead_letters import dead_letter
from execstream.config.settings import Settings
from execstream.storage.commit.consumer_offsets import OffsetCommit, claim
from execstream.storage.commit.write_set import commit
from execstream.storage.schema.day_partitions import Days
from execstream.streams.append_time import append_time
from execstream.streams.commands import Command, RunCommand, SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.events import encode_event, key_value_event, refused_event, run_event
from execstream.streams.fold import fold
from execstream.streams.journal import Entry
from execstream.streams.key_values import KeyValues, fold_key_value
from execstream.streams.outcomes import Dead, Duplicate, Refused
from execstream.streams.state import Run
from execstream.streams.topics import DEAD_LETTERS, EVENTS

CONSUMER = "apply"
MAX_BATCH = 512 * 1024  # bytes of events in one request


class States:
    """The known states of all runs and key-values."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.key_values = KeyValues()


class Batch:
    """Rows, events, dead letters and offset commits of the records that are applied together."""

    def __init__(self, states: States) -> None:
        self.write_set = UsualWriteSet()
        self.offset_commits: list[OffsetCommit] = []
        self.events: dict[int, list[Event]] = {}
        self.dead_letters: list[Any] = []
        self._states = states

    def apply(self, records: Sequence[ConsumerRecord], offset_commit: OffsetCommit) -> None:
        """Fold the records of a partition."""
        events = self.events[offset_commit.partition] = []
        self.offset_commits.append(offset_commit)
        for record in records:
            run = self._states.runs.get(record.key.decode())
            event = None if run is None else self.write_set.apply(run, record)
            if event is None:
                self._apply_as_the_product(record, offset_commit, events)
            else:
                offset_commit.applied += 1
                events.append(event)
        offset_commit.next = records[-1].offset + 1

    def _apply_as_the_product(
        self, record: ConsumerRecord, offset_commit: OffsetCommit, events: list[Event]
    ) -> None:
        command = decode(record.key, record.value)
        if isinstance(command, Dead):
            offset_commit.dead += 1
            self.write_set.add_dead_letter(record, command)
            self.dead_letters.append(dead_letter(record, command, 0))
            return
        if isinstance(command, SetKeyValue):
            self._set_key_value(record, command, offset_commit, events)
            return
        assert isinstance(command, RunCommand)  # noqa: S101 - there is no other kind
        run = self._states.runs.get(command.graph_exec_id)
        outcome = fold(run, command, record.partition)
        if isinstance(outcome, Duplicate):
            offset_commit.duplicate += 1
        elif isinstance(outcome, Refused):
            self._refuse(record, command, outcome, offset_commit, events)
        else:
            offset_commit.applied += 1
            self._add_entries(record, *outcome, events)

    def _set_key_value(
        self,
        record: ConsumerRecord,
        command: SetKeyValue,
        offset_commit: OffsetCommit,
        events: list[Event],
    ) -> None:
        outcome = fold_key_value(self._states.key_values, command)
        if isinstance(outcome, Duplicate):
            offset_commit.duplicate += 1
        elif isinstance(outcome, Refused):
            self._refuse(record, command, outcome, offset_commit, events)
        else:
            offset_commit.applied += 1
            self.write_set.add_key_value(command, record.partition, record.offset)
            source = (record.partition, record.offset, 0)
            events.append((record.key, encode_event(key_value_event(command, source))))

    def _refuse(
        self,
        record: ConsumerRecord,
        command: Command,
        refused: Refused,
        offset_commit: OffsetCommit,
        events: list[Event],
    ) -> None:
        offset_commit.refused += 1
        self.write_set.add_refusal(command, refused, record.partition, record.offset)
        source = (record.partition, record.offset, 0)
        events.append((record.key, encode_event(refused_event(command, refused, source))))

    def _add_entries(
        self, record: ConsumerRecord, run: Run, entries: list[Entry], events: list[Event]
    ) -> None:
        if run.id not in self._states.runs:
            self._states.runs[run.id] = run
            self.write_set.add_begun_run(run, append_time(record))
        for index, entry in enumerate(entries):
            self.write_set.add_entry(run, entry, record.partition, record.offset, index)
            event = run_event(run, entry, (record.partition, record.offset, index))
            events.append((record.key, encode_event(event)))


class Pipeline:
    """Fetches and folds a batch while the one before is committed, and that before published."""

    def __init__(self, settings: Settings, total: int) -> None:
        self._settings = settings
        self._topic = commands_topic(settings)
        self._progress = Progress(total)
        self._states = States()
        self._days = Days()
        self._epochs: dict[int, int] = {}
        self._published: dict[int, int] = {}
        self._connection: asyncpg.Connection
        self._producer: AIOKafkaProducer
        self._publishing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._publishing.set_result(None)

    async def run(self, ends: Mapping[int, int]) -> None:
        """Commit the records below `ends`."""
        kafka = self._settings.kafka
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, enable_auto_commit=False, isolation_level="read_committed"
        )
        self._producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, max_batch_size=MAX_BATCH
        )
        self._connection = await connect(self._settings)
        async with consumer, self._producer:
            rows = await claim(self._connection, CONSUMER, self._topic, dict.fromkeys(ends, 0))
            self._epochs = {row["partition"]: row["epoch"] for row in rows}
            parts = [TopicPartition(self._topic, number) for number in ends]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            committing = self._publishing
            while not self._progress.is_done:
                fetched = await consumer.getmany(timeout_ms=100, max_records=BATCH)
                batch = self._fold(fetched)
                await committing
                if self._publishing.done():
                    self._publishing.result()  # raises the error of publishing
                if fetched:
                    committing = asyncio.create_task(self._commit(batch))

    def _fold(self, fetched: dict[TopicPartition, list[ConsumerRecord]]) -> Batch:
        batch = Batch(self._states)
        for tp in sorted(fetched):
            first, number = fetched[tp][0].offset, tp.partition
            published = self._published.get(number, -1)
            move = OffsetCommit(number, first, self._epochs[number], first, published, 0)
            batch.apply(fetched[tp], move)
        batch.write_set.build_rows()
        return batch

    async def _commit(self, batch: Batch) -> None:
        rows, moves = batch.write_set, batch.offset_commits
        await self._days.ensure(self._connection, rows.begun)
        await commit(self._connection, CONSUMER, self._topic, moves, rows)
        await self._publishing
        self._publishing = asyncio.create_task(self._publish(batch))

    async def _publish(self, batch: Batch) -> None:
        prefix = self._settings.topic_prefix
        await asyncio.gather(
            *(
                self._publish_partition(prefix + EVENTS.name, partition, events)
                for partition, events in batch.events.items()
            )
        )
        for one in batch.dead_letters:
            topic = prefix + DEAD_LETTERS.name
            await self._producer.send(topic, one.value, one.key, headers=list(one.headers))
        for move in batch.offset_commits:
            self._published[move.partition] = move.next - 1
        self._progress.add(sum(move.next - move.expected for move in batch.offset_commits))

    async def _publish_partition(self, topic: str, partition: int, events: list[Event]) -> None:
        at = 0
        while at < len(events):
            box = self._producer.create_batch()
            while at < len(events):
                key, value = events[at]
                if box.append(key=key, value=value, timestamp=None) is None:
                    break
                at += 1
            await (await self._producer.send_batch(box, topic, partition=partition))


async def main() -> None:
    job, settings = read_job()
    await Pipeline(settings, job.total).run(job.ends)


if __name__ == "__main__":
    asyncio.run(main())
