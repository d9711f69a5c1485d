"""Applying batches: load, fold, commit behind the fence, publish, answer.

The commit of one batch overlaps with decoding and folding of the next. Possible answers to a
commit:

* done, or done before (its answer had got lost): publish and reply;
* fenced: another worker owns a partition now, everything cached is dropped;
* a run came into being elsewhere: drop the cache, fold the batch again;
* Postgres refuses the data: split the batch until the culprit is alone, dead-letter it;
* anything transient: the same again after a pause, as long as the partitions are ours;
* a fault that repeats: the batch is suspect, and is applied in parts (`suspects.py`).

Heavy commands (`batch_cutting.py`) are applied apart: folded in the same order, when the batch
before is committed, but committed and published beside the batches of other partitions.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from execstream.agents.apply.batch_cutting import BatchCutter
from execstream.agents.apply.batch_fold import (
    BatchResult,
    Decoded,
    decode_batch,
    decode_record,
    fold_batch,
)
from execstream.agents.apply.held_queues import Quarantine
from execstream.agents.apply.publisher import OutboundRecords, Publisher
from execstream.agents.apply.replies import Replies
from execstream.agents.apply.ruling import Judged
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.apply.state_loading import (
    REFUSALS,
    is_answer,
    is_stale,
    is_unstorable,
    load_states,
    not_storable,
)
from execstream.agents.apply.suspects import Fault, Suspects
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.metrics import CACHE_BYTES, CACHE_RUNS, FOLDED_AGAIN
from execstream.agents.runtime.partition_buffer import Batch, PartitionBuffer
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.tasks import spawn
from execstream.config.settings import Settings
from execstream.config.tracing import Interval, Tracer, now
from execstream.storage.commit.consumer_offsets import FENCED
from execstream.storage.commit.write_set import commit
from execstream.storage.connections import APPLY, Session, sqlstate
from execstream.storage.log.run_partitions import PARTITIONER
from execstream.storage.schema.day_partitions import Days
from execstream.streams.commands import Command
from execstream.streams.outcomes import Dead
from execstream.streams.quarantine import SetAside

log = structlog.get_logger(__name__)

CONSUMER = "apply"
WARN_EVERY = 60.0  # seconds
MOST_CACHE_BYTES = 40 * 1024 * 1024  # estimated size of the states of runs
# Each time another worker changed another run of the batch; without a limit, a bug would retry
# forever.
_REFOLDINGS = 20
Publish = Callable[[Sequence[OutboundRecords], Awaitable[Any] | None], Awaitable[None]]


class _CommitApart(NamedTuple):
    """A heavy batch on its way; the task returns false when it failed."""

    folded: BatchResult
    task: asyncio.Task[bool]
    keys: frozenset[bytes | None]  # of its records: all states that it changes are of these


class Applier:
    """The work of a worker of role `apply`, with its state between batches."""

    def __init__(
        self,
        settings: Settings,
        buffer: PartitionBuffer,
        publisher: Publisher,
        phases: Phases,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self.republished: Awaitable[Any] | None = None
        self._settings = settings
        self._buffer = buffer
        self._cutter = BatchCutter(buffer)
        self._publisher = publisher
        self._phases = phases
        self._replies = Replies(settings.redis, settings.redis_prefix)
        self._cache = RunCache(MOST_CACHE_BYTES)
        self._reading = Session(settings.postgres, settings.schema_, APPLY)
        self._writing = Session(settings.postgres, settings.schema_, APPLY)
        self._apart = Session(settings.postgres, settings.schema_, APPLY)
        self._turn = asyncio.Lock()  # held while a batch is begun, or applied again apart
        self._folding = asyncio.Lock()
        self._days = Days()
        self._quarantine = Quarantine()
        self._suspects = Suspects(settings, CONSUMER, buffer, self._quarantine, self._again)
        self._number = 0
        self._in_flight: asyncio.Task[Any] | None = None
        self._heavy: asyncio.Task[None] | None = None  # applies laden partitions
        self._commit_apart: _CommitApart | None = None
        self._is_closing = False
        self._warns_at = 0.0  # by time.monotonic

    def drop_states(self) -> None:
        self._cache.clear()
        self._suspects.forget()

    async def close(self) -> None:
        """Finish the commit in flight; batches being folded are left to the next owner."""
        self._is_closing = True
        if in_flight := [task for task in (self._in_flight, self._heavy) if task is not None]:
            await asyncio.wait(in_flight)
        async with self._folding:
            await self._publisher.close()
            await self._replies.close()
            for session in (self._reading, self._writing, self._apart):
                await session.close()
            await self._suspects.close()

    async def apply(self, batch: Batch) -> None:
        """Fold `batch` while the one before is being committed, then begin to commit it."""
        async with self._turn:
            await self._begin(batch)
        if self._buffer.laden and (self._heavy is None or self._heavy.done()):
            self._heavy = spawn(self._apply_heavy())

    async def _begin(self, batch: Batch) -> None:
        if self._is_built_on_heavy(batch):
            await self._heavy_settled()
        if await self._suspects.begin(batch):
            await self._committed()
            await self._suspects.rehearse(batch)
            return
        folded = await self._fold_part(batch)
        if folded is not None:
            self._in_flight = spawn(self._finish(folded))

    async def _committed(self) -> None:
        """Wait for the batch before."""
        if self._in_flight is not None:
            await self._in_flight

    # ---- heavy commands --------------------------------------------------------------------

    async def _apply_heavy(self) -> None:
        """Apply the records of laden partitions, until none is laden."""
        while batch := await self._buffer.poll_laden():
            async with self._turn:
                folded = await self._fold_part(batch, with_heavy=True)
                if folded is None:
                    continue
                keys = frozenset(one.key for part in folded.batch for one in part.records)
                task = spawn(self._commit_heavy(folded))
                self._commit_apart = _CommitApart(folded, task, keys)
            if await task:
                self._commit_apart = None
            else:
                async with self._turn:
                    await self._heavy_settled()

    def _is_built_on_heavy(self, batch: Batch) -> bool:
        """Return whether `batch` needs states that are only known once the heavy batch is done."""
        if self._commit_apart is None:
            return False
        keys = self._commit_apart.keys
        return any(one.key in keys for part in batch for one in part.records)

    async def _heavy_settled(self) -> None:
        """Wait for the heavy batch on its way, or for its second commit, beside which nothing else
        may be in flight. The turn is held.
        """
        if (apart := self._commit_apart) is None:
            return
        if not await apart.task:
            await self._committed()
            await self._finish(apart.folded)
        self._commit_apart = None

    async def _commit_heavy(self, folded: BatchResult) -> bool:
        """Commit and publish `folded` beside other batches; false when that failed."""
        try:
            done = await self._commit(folded, self._apart, is_refolded=False)
        except Exception as error:  # noqa: BLE001 - the second commit meets it, too
            if sqlstate(error) == FENCED:
                self._give_up(folded.batch)
                return True
            log.info("heavy_again", error=str(Fault(error)), records=folded.batch.size)
            self._apart.terminate()
            return False
        if done:
            await self._emit(folded, self._publisher.publish_apart)
        return True

    # ---- folding ---------------------------------------------------------------------------

    async def _fold_part(self, batch: Batch, *, with_heavy: bool = False) -> BatchResult | None:
        """Fold the part of `batch` that may be folded together; the rest is put back. None when
        there is nothing to be committed.
        """
        # Without a pause between commits key-values would never be forgotten.
        if self._cache.has_many_key_values or self._quarantine.concerns(batch):
            await self._committed()
        try:
            batch, decoded = self._cut(batch, with_heavy=with_heavy)
            folded = await self._fold_on_committed(batch, decoded) if batch else None
        except Fault as fault:
            await self._committed()
            await self._suspects.isolate(batch, fault)
            return None
        if folded is not None and folded.rest:
            self._cutter.put_back(folded.rest, folded.batch)
        return None if self._is_closing else folded

    def _cut(self, batch: Batch, *, with_heavy: bool = False) -> tuple[Batch, Decoded]:
        """Decode the part of `batch` that may be folded together; the rest is put back, and
        heavy commands apart, if not `with_heavy`. Raises Fault.
        """
        judged = self._quarantine.judge(batch, self._suspects.faults).judged
        try:
            with self._phases.timed("decode"):
                decode = partial(self._decode, judged)
                return self._cutter.decode(batch, decode, with_heavy=with_heavy)
        except Exception as error:
            raise Fault(error) from error

    def _decode(self, judged: Judged, record: Record) -> Command | Dead | SetAside:
        return decode_record(record, self._settings.max_command_bytes, judged)

    async def _fold_on_committed(self, batch: Batch, decoded: Decoded) -> BatchResult | None:
        """Fold while the batch before is being committed, and again if that failed."""
        folded = await self._fold(batch, decoded)
        await self._committed()
        while folded is not None and folded.generation != self._cache.generation:
            folded = await self._fold(batch, decoded)  # its states have been dropped
        return folded

    async def _fold(self, batch: Batch, decoded: Decoded | None = None) -> BatchResult | None:
        """Fold on the states as they are after everything folded before; None when the batch is
        left to its next owner. A `decoded` batch, cut before, is folded as far as there is room.
        Raises Fault.
        """
        async with self._folding:
            return await self._suspects.guard(
                "load", batch, lambda: self._load_and_fold(batch, decoded), self._reading
            )

    async def _load_and_fold(self, batch: Batch, cut: Decoded | None) -> BatchResult | None:
        if self._is_closing or not self._buffer.owns(batch):
            return None
        ruling = self._quarantine.judge(batch, self._suspects.faults)
        with self._phases.timed("decode"):
            decoded = self._decoded(batch, cut, ruling.judged)
        self._number += 1
        # A ruling is about the whole batch.
        is_bounded = cut is not None and not ruling.queues
        folded = BatchResult(
            *(batch, self._number, self._cache.generation), is_bounded=is_bounded, ruling=ruling
        )
        with self._phases.timed("load"):
            await load_states(self._reading, self._cache, decoded, self._number)
        if folded.generation == self._cache.generation:  # else the caller folds again
            with self._phases.timed("fold"), self._cache.all_or_nothing():
                fold_batch(folded, decoded, self._cache)
        folded.write_set.quarantine.released = ruling.released
        return folded

    def _decoded(self, batch: Batch, cut: Decoded | None, judged: Judged) -> Decoded:
        """The commands of `batch`; a record may have been judged since it was decoded."""
        if cut is None:
            return decode_batch(batch, self._settings.max_command_bytes, judged)
        if not judged:
            return cut
        return [
            [
                judged.get((record.partition, record.offset), command)
                for record, command in zip(part.records, commands, strict=True)
            ]
            for part, commands in zip(batch, cut, strict=True)
        ]

    # ---- committing ------------------------------------------------------------------------

    async def _finish(self, folded: BatchResult) -> None:
        """Commit, or whatever has to happen instead."""
        try:
            await self._settle(folded)
        except Fault as fault:
            await self._suspects.isolate(folded.batch, fault)

    async def _settle(self, folded: BatchResult, refoldings: int = 0) -> None:
        """Commit, or heed the answer of Postgres; the batch, or one that it is a part of, was
        folded and sent to Postgres `refoldings` times before. Raises Fault."""
        attempt = partial(self._commit, folded, self._writing, is_refolded=refoldings > 0)
        try:
            done = await self._suspects.guard(
                "commit", folded.batch, attempt, self._writing, is_answer
            )
        except REFUSALS as error:
            await self._settle_otherwise(folded.batch, error, refoldings)
        else:
            if done:
                await self._emit(folded, self._publisher.add)

    async def _commit(self, folded: BatchResult, session: Session, *, is_refolded: bool) -> bool:
        """Commit `folded`; false when it is not ours any more.

        The answer to an earlier attempt may have got lost. What a batch that was folded again finds
        committed is the result of an earlier folding, and only the journal has its events: the
        partitions are given up, and the next claim republishes.
        """
        if not self._buffer.owns(folded.batch):
            return False
        connection = await session.get()
        await self._days.ensure(connection, folded.write_set.begun)
        begun = now()
        with self._phases.timed("commit"):
            async with self._suspects.limit(connection, folded.batch):
                was_committed = await commit(
                    *(connection, CONSUMER, self._buffer.topic),
                    *(folded.offset_commits, folded.write_set),
                )
        if was_committed and is_refolded:
            self._give_up(folded.batch)
            return False
        if self._tracer is not None:
            records, interval = folded.batch.with_headers(), Interval(begun, now())
            self._tracer.committed(self._buffer.topic, records, interval)
        return True

    def _warn_of_foreign(self, runs: int) -> None:
        """Log `runs` that began where their keys do not belong, at most once per WARN_EVERY."""
        now = time.monotonic()
        if runs and now >= self._warns_at:
            log.warning("foreign_partitioner", runs=runs, remedy=PARTITIONER)
            self._warns_at = now + WARN_EVERY

    async def _emit(self, folded: BatchResult, publish: Publish) -> None:
        """Emit the consequences of a commit, events and dead letters by `publish`."""
        folded.batch.mark_committed()
        folded.count()
        if folded.ruling is not None:
            self._quarantine.settle(folded.ruling)
        self._warn_of_foreign(folded.foreign)
        self._cache.trim(folded.number)
        CACHE_RUNS.set(len(self._cache))
        CACHE_BYTES.set(self._cache.bytes)
        log.debug("committed", records=folded.batch.size, entries=len(folded.write_set.entries))
        self._replies.add(folded.replies)
        outbound = [one for one in folded.outbound if one.events or one.dead_letters]
        if outbound:
            await publish(outbound, self.republished)

    async def _settle_otherwise(self, batch: Batch, error: Exception, refoldings: int) -> None:
        if sqlstate(error) == FENCED:
            self._give_up(batch)
        elif is_stale(error) and refoldings < _REFOLDINGS:
            log.info("folded_again", sqlstate=sqlstate(error), records=batch.size)
            FOLDED_AGAIN.inc()
            await self._again(batch, refoldings)
        elif is_unstorable(error):
            await self._split(batch, error)
        else:
            raise Fault(error)

    async def _again(self, batch: Batch, refoldings: int = 0) -> None:
        """Fold and commit `batch` on reloaded states. Raises Fault."""
        self._cache.clear()
        folded = await self._fold(batch)
        if folded is not None:
            await self._settle(folded, refoldings + 1)

    async def _split(self, batch: Batch, error: Exception) -> None:
        """Commit `batch` in parts, so that a record refused by Postgres harms no other."""
        if batch.size > 1:
            for half in batch.halves():
                await self._suspects.apply(half)
            return
        record = batch[0].records[0]
        position, faults = (record.partition, record.offset), self._suspects.faults
        if position in faults:
            raise Fault(error)  # not even as a dead letter
        log.warning("not_storable", partition=record.partition, offset=record.offset)
        faults[position] = not_storable(error)
        try:
            await self._again(batch)
        finally:
            faults.pop(position, None)

    def _give_up(self, batch: Batch) -> None:
        self._cache.clear()
        for session in (self._writing, self._apart):
            session.terminate()  # its prepared statements name types of the schema that was
        self._buffer.release(batch)
