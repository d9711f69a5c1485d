"""Histories: commands taken into tables as a worker takes them, and into the reference too."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord

from execstream.storage.commit.consumer_offsets import OffsetCommit, claim
from execstream.storage.commit.write_set import WriteSet, commit
from execstream.storage.connections import Session
from execstream.streams.commands import RunCommand, SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.events import Event, run_event
from execstream.streams.fold import fold
from execstream.streams.key_values import KeyValues, fold_key_value
from execstream.streams.outcomes import Applied, Dead, Refused
from execstream.streams.state import Run
from execstream.workload.reference import Reference
from execstream.workload.simulation import Graph, catalogue

TOPIC = "commands"
MAX_COMMAND_BYTES = 8 * 1024 * 1024

Command = tuple[bytes | None, bytes | None]
"""Key and value of a record."""


class History:
    """Everything that came on one partition so far."""

    def __init__(self, session: Session, partition: int = 0) -> None:
        self.reference = Reference(MAX_COMMAND_BYTES)
        self._session = session
        self._partition = partition
        self._offset = 0
        self._runs: dict[str, Run] = {}
        self._key_values = KeyValues()

    async def take(self, records: Iterable[Command]) -> list[Event]:
        """Commit `records` in one batch; return the events of runs."""
        write_set = WriteSet()
        events: list[Event] = []
        first = self._offset
        for key, value in records:
            self.reference.feed(self._partition, self._offset, key, value)
            events += self._apply(write_set, key, value)
            self._offset += 1
        write_set.build_rows()
        connection = await self._session.get()
        [row] = await claim(connection, "apply", TOPIC, {self._partition: first})
        offset_commit = OffsetCommit(self._partition, first, row["epoch"], self._offset, -1, -1)
        await commit(connection, "apply", TOPIC, [offset_commit], write_set)
        return events

    async def define(self, graphs: Iterable[Graph]) -> None:
        """Add the blocks of `graphs` to the catalogue."""
        connection = await self._session.get()
        for _, definition in catalogue(list(graphs)):
            if definition["type"] == "block.define":
                await connection.execute(
                    "insert into block values ($1, $2, $3) on conflict do nothing",
                    *(definition[name] for name in ("block_id", "name", "block_type")),
                )

    def _apply(self, write_set: WriteSet, key: bytes | None, value: bytes | None) -> list[Event]:
        command = decode(key, value, MAX_COMMAND_BYTES)
        if isinstance(command, RunCommand):
            return self._apply_to_run(write_set, command)
        if isinstance(command, SetKeyValue):
            outcome = fold_key_value(self._key_values, command)
            if isinstance(outcome, Applied):
                write_set.add_key_value(command, self._partition, self._offset)
            elif isinstance(outcome, Refused):
                write_set.add_refusal(command, outcome, self._partition, self._offset)
        elif isinstance(command, Dead):
            record = ConsumerRecord(
                TOPIC, self._partition, self._offset, 0, 0, key, value, None, 0, 0, ()
            )
            write_set.add_dead_letter(record, command)
        return []

    def _apply_to_run(self, write_set: WriteSet, command: RunCommand) -> list[Event]:
        result = fold(self._runs.get(command.graph_exec_id), command, self._partition)
        if isinstance(result, Refused):
            write_set.add_refusal(command, result, self._partition, self._offset)
        if not isinstance(result, tuple):
            return []
        run, entries = result
        self._runs[run.id] = run
        events = []
        for index, entry in enumerate(entries):
            write_set.add_entry(run, entry, self._partition, self._offset, index)
            events.append(run_event(run, entry, (self._partition, self._offset, index)))
        return events


@asynccontextmanager
async def history(dsn: str, schema: str, partition: int = 0) -> AsyncIterator[History]:
    """A history in migrated tables that has not begun."""
    session = Session(dsn, schema)
    try:
        yield History(session, partition)
    finally:
        await session.close()
