"""Suspect batches: a fault that repeats belongs to the batch, until proven otherwise.

A suspect batch is halved and its parts are tried one at a time. A record is set aside when, tried
alone, it failed TRIES times, and after each of these tries a probe commit succeeded; so an outage,
or a worker that is killed, sets nothing aside. A batch at which workers die is found by take-overs
that find a partition where the last one found it, and is rehearsed before it is applied.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import structlog

from execstream.agents.apply.held_queues import Quarantine
from execstream.agents.apply.probe_commit import probe_commit
from execstream.agents.apply.rehearsal import Rehearsal
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.metrics import SUSPECT_BATCHES
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBuffer
from execstream.agents.runtime.retries import (
    forget_waiting,
    is_transient,
    note_retry,
    pauses,
    retrying,
)
from execstream.config.settings import Settings
from execstream.storage.commit.consumer_offsets import FENCED
from execstream.storage.commit.quarantine_rows import (
    Attempt,
    begin_applying,
    begin_try,
    forget_tries,
)
from execstream.storage.connections import APPLY, Session, sqlstate
from execstream.storage.log.dead_letters import RecordPosition
from execstream.streams.decoding import Sender, read_sender
from execstream.streams.outcomes import Dead, Quarantined, QuarantineReason
from execstream.streams.quarantine import SetAside

log = structlog.get_logger(__name__)

REPEATS = 3  # failures of a batch in a row, where waiting may help
TRIES = 3  # of a record alone
TAKEOVERS = 2  # in a row at one offset: a worker died, or was stopped, with the batch in hand
# Limits of a statement in milliseconds. A slower batch is halved; a slower record fails.
PART_TIMEOUT = 3_000
RECORD_TIMEOUT = 10_000

MAX_ERROR = 300  # characters of an error

Answer = TypeVar("Answer")


class Fault(Exception):
    """Applying a batch has failed, and not because Postgres was unavailable for a moment."""

    def __init__(self, error: Exception) -> None:
        # Not `str(error)`, to which Postgres adds the row.
        super().__init__(f"{type(error).__name__}: {next(iter(error.args), '')}"[:MAX_ERROR])
        self.error = error


class Suspects:
    """Isolates the records at which batches fail.

    Args:
        apply_again: folds and commits a batch on reloaded states; raises Fault.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: str,
        buffer: PartitionBuffer,
        quarantine: Quarantine,
        apply_again: Callable[[Batch], Awaitable[None]],
    ) -> None:
        self.faults: dict[RecordPosition, Dead | SetAside] = {}  # records not to be applied
        self._consumer = consumer
        self._buffer = buffer
        self._quarantine = quarantine
        self._apply_again = apply_again
        self._session = Session(settings.postgres, settings.schema_, APPLY)
        self._rehearsal = Rehearsal(settings, consumer)
        self._begun: set[AssignedPartition] = set()
        self._depth = 0  # of suspect parts of suspect batches

    def forget(self) -> None:
        """The partitions are lost, or claimed again."""
        self._begun.clear()
        self._quarantine.clear()

    async def close(self) -> None:
        self._rehearsal.close()
        await self._session.close()

    # ---- finding out ------------------------------------------------------------------------

    async def guard(
        self,
        what: str,
        batch: Batch,
        attempt: Callable[[], Awaitable[Answer]],
        session: Session,
        is_answer: Callable[[Exception], bool] = lambda _: False,
    ) -> Answer:
        """The answer of `attempt` at `batch`, which uses `session`, repeated after a pause where
        that may help, and the last time when a probe commit has shown that an outage is over.
        Raises Fault, or an error that `is_answer` knows."""
        waits = pauses()
        failures = 0
        try:
            while True:
                try:
                    return await attempt()
                except Exception as error:
                    if is_answer(error):
                        raise
                    note_retry(what, error, session)
                    failures += 1
                    if self._depth or failures == REPEATS or not is_transient(error):
                        raise Fault(error) from error
                    fault = Fault(error)
                await asyncio.sleep(next(waits))
                if failures == REPEATS - 1:
                    await self._is_working(batch, fault)
        finally:
            forget_waiting(what)

    @asynccontextmanager
    async def limit(self, connection: asyncpg.Connection, batch: Batch) -> AsyncIterator[None]:
        """Limits the time that the commit of a suspect batch takes."""
        if not self._depth:
            yield
            return
        milliseconds = RECORD_TIMEOUT if batch.size == 1 else PART_TIMEOUT
        async with connection.transaction():
            await connection.execute(f"set local statement_timeout = {milliseconds}")
            yield

    async def begin(self, batch: Batch) -> bool:
        """Note the assignments that begin with `batch`; return whether one of them begins at an
        offset at which other workers ended with this batch in hand.
        """
        begun = {
            part.owned.number: part.expected for part in batch if part.owned not in self._begun
        }
        if not begun:
            return False
        attempts = await retrying("begin", lambda: self._begin(begun), self._session)
        self._begun.update(part.owned for part in batch)
        return any(one.takeovers >= TAKEOVERS or one.tries for one in attempts.values())

    async def _begin(self, offsets: dict[int, int]) -> dict[int, Attempt]:
        connection = await self._session.get()
        attempts = await begin_applying(connection, self._buffer.topic, offsets)
        await self._quarantine.load(self._session, self._buffer.topic, list(offsets))
        return attempts

    # ---- isolating --------------------------------------------------------------------------

    async def rehearse(self, batch: Batch) -> None:
        """Apply `batch` in parts that have been seen to end no process."""
        ruling = self._quarantine.judge(batch, self.faults)
        if batch.size == 1:
            await self._try_alone(batch, Fault(RuntimeError("workers died")), is_deadly=True)
        elif error := await self._rehearsal.rehearse(batch, ruling):
            self._suspect(batch, error)
            for half in batch.halves():
                await self.rehearse(half)
        else:
            await self.apply(batch)

    async def apply(self, batch: Batch) -> None:
        """Apply `batch`, or those of its records that can be applied."""
        try:
            await self._apply_again(batch)
        except Fault as fault:
            await self.isolate(batch, fault)

    async def isolate(self, batch: Batch, fault: Fault) -> None:
        """`batch` is suspect because of `fault`: apply its parts one at a time."""
        if not await self._is_working(batch, fault):
            return
        self._suspect(batch, str(fault))
        self._depth += 1
        try:
            if batch.size > 1:
                for half in batch.halves():
                    await self.apply(half)
            else:
                await self._try_alone(batch, fault)
        finally:
            self._depth -= 1

    def _suspect(self, batch: Batch, error: str) -> None:
        SUSPECT_BATCHES.inc()
        log.warning(
            "suspect",
            records=batch.size,
            positions={part.owned.number: part.expected for part in batch},
            error=error[:200],
        )

    async def _is_working(self, batch: Batch, fault: Fault) -> bool:
        """Wait until a probe commit succeeds; false when the batch is not ours any more."""
        waits = pauses()
        was_away = False
        while self._buffer.owns(batch):
            try:
                await probe_commit(self._session, self._consumer, batch)
                if was_away:  # which may have caused the earlier failures
                    await forget_tries(await self._session.get(), batch[0].owned.tp.topic)
                    forget_waiting("probe")
                return True
            except Exception as error:
                if sqlstate(error) == FENCED:
                    return True  # the next commit learns it too, and gives the batch up
                note_retry("probe", error, self._session)
                if not is_transient(error):
                    raise fault.error from error
                was_away = True
            await asyncio.sleep(next(waits))
        return False

    async def _try_alone(self, batch: Batch, fault: Fault, *, is_deadly: bool = False) -> None:
        """Try the one record of `batch`, and set it aside when it failed often enough."""
        record = batch[0].records[0]
        position = (record.partition, record.offset)
        if isinstance(self.faults.get(position), SetAside):
            raise fault.error  # it cannot even be set aside
        while await self._is_working(batch, fault):
            tries = await retrying("try", lambda: self._begin_try(record), self._session)
            if tries > TRIES:
                await self._set_aside(batch, str(fault), is_deadly=is_deadly)
                return
            if is_deadly and (fatal := await self._rehearse_one(batch)):
                fault = Fault(RuntimeError(fatal))
                continue
            try:
                await self._apply_again(batch)
                return
            except Fault as again:
                fault = again

    async def _begin_try(self, record: Record) -> int:
        connection = await self._session.get()
        return await begin_try(connection, record.topic, record.partition, record.offset)

    async def _rehearse_one(self, batch: Batch) -> str | None:
        return await self._rehearsal.rehearse(batch, self._quarantine.judge(batch, self.faults))

    async def _set_aside(self, batch: Batch, error: str, *, is_deadly: bool) -> None:
        record = batch[0].records[0]
        log.error("quarantined", partition=record.partition, offset=record.offset, error=error)
        # A record that ends a process might do so again when its sender is read.
        sender = Sender() if is_deadly else read_sender(record.value)
        outcome = Quarantined(QuarantineReason.FAULT, {"error": error, "tries": TRIES})
        position = (record.partition, record.offset)
        self.faults[position] = SetAside(outcome, sender)
        await self._apply_again(batch)
        del self.faults[position]
