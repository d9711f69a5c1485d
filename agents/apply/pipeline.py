"""Applying batches: load, fold, commit behind the fence, publish, answer.

The commit of one batch overlaps with decoding and folding of the next. What a commit may answer:

* done, or done before (its answer had got lost): publish and reply;
* fenced: another worker owns a partition now, everything cached is dropped;
* a run came into being elsewhere: drop the cache, fold the batch again;
* Postgres refuses the data: split the batch until the culprit stands alone, dead-letter it;
* anything transient: the same again after a pause, as long as the partitions are ours.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

import structlog

from execstream.agents.apply.batch_cutting import BatchCutter
from execstream.agents.apply.batch_fold import (
    BatchResult,
    Decoded,
    decode_batch,
    decode_record,
    fold_batch,
)
from execstream.agents.apply.publisher import Publisher
from execstream.agents.apply.replies import Replies
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.apply.state_loading import (
    REFUSALS,
    is_stale,
    is_unstorable,
    load_states,
    not_storable,
)
from execstream.agents.runtime.metrics import CACHE_BYTES, CACHE_RUNS, FOLDED_AGAIN
from execstream.agents.runtime.partition_buffer import Batch, PartitionBuffer, Record
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.retries import retrying
from execstream.agents.runtime.tasks import spawn
from execstream.config.settings import Settings
from execstream.storage.commit.consumer_offsets import FENCED
from execstream.storage.commit.write_set import commit
from execstream.storage.connections import Session, sqlstate
from execstream.storage.schema.day_partitions import Days
from execstream.streams.commands import Command
from execstream.streams.outcomes import Dead

log = structlog.get_logger(__name__)

CONSUMER = "apply"
MOST_CACHE_BYTES = 64 * 1024 * 1024  # estimate of what the states of runs may take
# Each time somebody else was faster with another run of the batch; a fault of ours would never end.
_FOLDINGS = 20


class Applier:
    """Holds what a worker of role `apply` keeps between batches."""

    def __init__(
        self, settings: Settings, buffer: PartitionBuffer, publisher: Publisher, phases: Phases
    ) -> None:
        self.republished: Awaitable[Any] | None = None
        self._settings = settings
        self._buffer = buffer
        self._cutter = BatchCutter(buffer)
        self._publisher = publisher
        self._phases = phases
        self._replies = Replies(settings.redis, settings.redis_prefix)
        self._cache = RunCache(MOST_CACHE_BYTES)
        self._reading = Session(settings.postgres, settings.schema_)
        self._writing = Session(settings.postgres, settings.schema_)
        self._folding = asyncio.Lock()
        self._days = Days()
        self._unstorable: dict[tuple[int, int], Dead] = {}
        self._number = 0
        self._in_flight: asyncio.Task[Any] | None = None
        self._is_closing = False

    def drop_states(self) -> None:
        self._cache.clear()

    async def close(self) -> None:
        """Finish what is being committed; what is being folded is left to the next owner."""
        self._is_closing = True
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        async with self._folding:
            await self._publisher.close()
            await self._replies.close()
            await self._reading.close()
            await self._writing.close()

    async def apply(self, batch: Batch) -> None:
        """Fold `batch` while the one before is being committed, then begin to commit it."""
        if self._cache.has_many_key_values and self._in_flight is not None:
            await self._in_flight  # without a pause between commits they would never be forgotten
        with self._phases.timed("decode"):
            batch, decoded = self._cutter.decode(batch, self._decode)
        folded = await self._fold(batch, decoded, is_bounded=True)
        if self._in_flight is not None:
            await self._in_flight
        while folded is not None and folded.generation != self._cache.generation:
            # What it was folded on has been dropped.
            folded = await self._fold(batch, decoded, is_bounded=True)
        if folded is not None and folded.rest:
            self._cutter.put_back(folded.rest, folded.batch)
        if folded is not None and not self._is_closing:
            self._in_flight = spawn(self._settle(folded))

    # ---- folding ---------------------------------------------------------------------------

    def _decoded(self, batch: Batch) -> Decoded:
        with self._phases.timed("decode"):
            return decode_batch(batch, self._settings.max_command_bytes, self._unstorable)

    def _decode(self, record: Record) -> Command | Dead:
        return decode_record(record, self._settings.max_command_bytes, self._unstorable)

    async def _fold(
        self, batch: Batch, decoded: Decoded, *, is_bounded: bool = False
    ) -> BatchResult | None:
        """Fold on the states as they are after everything folded before; None when the batch is
        left to whoever owns it next."""
        async with self._folding:
            folded = await retrying("load", lambda: self._load(batch, decoded), self._reading)
            if folded is not None:
                folded.is_bounded = is_bounded
            if folded is not None and folded.generation == self._cache.generation:
                with self._phases.timed("fold"):
                    fold_batch(folded, decoded, self._cache)
            return folded  # its states may have been dropped while loading: the caller folds again

    async def _load(self, batch: Batch, decoded: Decoded) -> BatchResult | None:
        """Load the states that `decoded` asks about; return what it is to be folded into."""
        if self._is_closing or not self._buffer.owns(batch):
            return None
        self._number += 1
        folded = BatchResult(batch, self._number, self._cache.generation)
        with self._phases.timed("load"):
            await load_states(self._reading, self._cache, decoded, self._number)
        return folded

    # ---- committing ------------------------------------------------------------------------

    async def _settle(self, folded: BatchResult, foldings: int = 1) -> None:
        """Commit, or whatever has to happen instead; `foldings` of the batch led to `folded`."""
        try:
            done = await retrying("commit", lambda: self._commit(folded), self._writing)
        except REFUSALS as error:
            await self._settle_otherwise(folded.batch, error, foldings)
        else:
            if done:
                await self._emit(folded)

    async def _commit(self, folded: BatchResult) -> bool:
        """Commit `folded`; false when it is not ours any more."""
        if not self._buffer.owns(folded.batch):
            return False
        connection = await self._writing.get()
        await self._days.ensure(connection, folded.write_set.begun)
        with self._phases.timed("commit"):
            await commit(
                connection, CONSUMER, self._buffer.topic, folded.offset_commits, folded.write_set
            )
        return True

    async def _emit(self, folded: BatchResult) -> None:
        """What follows from a commit."""
        folded.batch.mark_committed()
        folded.count()
        self._cache.trim(folded.number)
        CACHE_RUNS.set(len(self._cache))
        CACHE_BYTES.set(self._cache.bytes)
        log.debug("committed", records=folded.batch.size, entries=len(folded.write_set.entries))
        self._replies.add(folded.replies)
        outbound = [one for one in folded.outbound if one.events or one.dead_letters]
        if outbound:
            await self._publisher.add(outbound, self.republished)

    async def _settle_otherwise(self, batch: Batch, error: Exception, foldings: int) -> None:
        if sqlstate(error) == FENCED:
            self._give_up(batch)
        elif is_stale(error) and foldings < _FOLDINGS:
            log.info("folded_again", sqlstate=sqlstate(error), records=batch.size)
            FOLDED_AGAIN.inc()
            await self._again(batch, foldings)
        elif is_unstorable(error):
            await self._split(batch, error)
        else:
            raise error

    async def _again(self, batch: Batch, foldings: int = 0) -> None:
        """Fold and commit `batch` on states loaded anew."""
        self._cache.clear()
        folded = await self._fold(batch, self._decoded(batch))
        if folded is not None:
            await self._settle(folded, foldings + 1)

    async def _split(self, batch: Batch, error: Exception) -> None:
        """Commit `batch` in parts, so that what Postgres refuses harms nothing beside it."""
        if batch.size > 1:
            for half in batch.halves():
                await self._again(half)
            return
        record = batch[0].records[0]
        place = (record.partition, record.offset)
        if place in self._unstorable:
            raise error  # not even as a dead letter
        log.warning("not_storable", partition=record.partition, offset=record.offset)
        self._unstorable[place] = not_storable(error)
        await self._again(batch)
        self._unstorable.clear()

    def _give_up(self, batch: Batch) -> None:
        self._cache.clear()
        self._writing.terminate()  # its prepared statements name types of the schema that was
        self._buffer.release(batch)
