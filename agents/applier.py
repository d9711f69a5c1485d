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
from datetime import date, timedelta
from typing import Any

import asyncpg
import structlog

# Hidden behind the server's error of the same name: a value that asyncpg cannot even encode.
from asyncpg.exceptions._base import DataError as ClientDataError

from agents.cache import RunCache
from agents.config import WorkerConfig
from agents.failures import crash, is_transient, pauses, spawn
from agents.folding import Decoded, Work, decode_batch, fold_batch
from agents.intake import Batch, Intake
from agents.publisher import Publisher
from agents.replies import Replies
from agents.timing import Phases
from storage.effects import commit, ensure_day, kafka_time
from storage.lines import Line
from storage.progress import CREATED_ELSEWHERE, FENCED, sqlstate
from storage.states import load_key_values, load_runs
from streams.commands import RunCommand, SetKeyValue
from streams.outcomes import Dead, DeadReason

log = structlog.get_logger(__name__)

CONSUMER = "apply"
FENCED_PATIENCE = 20.0  # seconds to wait for Faust to say that a partition is not ours any more
# Days around a record's Kafka time that get partitions of their own.
_OLDEST_DAY, _NEWEST_DAY = timedelta(days=40), timedelta(days=2)
_DATA = "22"  # what asyncpg cannot even encode counts as this
_DATA_ERRORS = (_DATA, "23", "54")  # classes of SQLSTATE
# A run came into being elsewhere, or an entry or key-value that the states did not know of.
_STALE_STATES = (CREATED_ELSEWHERE, "23505")
# Each time somebody else was faster with another run of the batch; a fault of ours would never end.
_FOLDINGS = 20
_REFUSALS = (asyncpg.PostgresError, ClientDataError)


class Applier:
    """Holds what a worker of role `apply` keeps between batches."""

    def __init__(self, config: WorkerConfig, publisher: Publisher, phases: Phases) -> None:
        self.intake: Intake
        self.republished: Awaitable[Any] | None = None
        self._config = config
        self._publisher = publisher
        self._phases = phases
        self._replies = Replies(config.redis_url, config.redis_prefix)
        self._cache = RunCache(config.cache_bytes)
        self._reading = Line(config.postgres_dsn, config.schema)
        self._writing = Line(config.postgres_dsn, config.schema)
        self._folding = asyncio.Lock()
        self._days: set[date] = set()
        self._unstorable: dict[tuple[int, int], Dead] = {}
        self._number = 0
        self._committed = 0
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
        work = await self._fold(batch)
        if self._in_flight is not None:
            await self._in_flight
        while work is not None and work.generation != self._cache.generation:
            work = await self._fold(batch)  # what it was folded on has been dropped
        if work is not None and not self._is_closing:
            self._in_flight = spawn(self._settle(work))

    # ---- folding ---------------------------------------------------------------------------

    async def _fold(self, batch: Batch) -> Work | None:
        """Fold on the states as they are after everything folded before; None when the batch is
        left to whoever owns it next."""
        async with self._folding:
            with self._phases.timed("decode"):
                decoded = decode_batch(batch, self._config.max_command_bytes, self._unstorable)
            for pause in pauses():
                if self._is_closing or not self.intake.owns(batch):
                    return None
                self._number += 1
                work = Work(batch, self._number, self._cache.generation)
                try:
                    await self._load(decoded)
                    break
                except Exception as error:
                    if not is_transient(error):
                        raise
                    await self._retry_later("load", self._reading, error, pause)
            if work.generation != self._cache.generation:
                return work  # dropped while loading: the caller folds again
            with self._phases.timed("fold"):
                fold_batch(work, decoded, self._cache)
            return work

    async def _load(self, decoded: Decoded) -> None:
        """Bring in what the batch asks about and the cache does not hold."""
        commands = [command for portion in decoded for command in portion]
        run_ids = {c.graph_exec_id for c in commands if isinstance(c, RunCommand)}
        key_values = [c for c in commands if isinstance(c, SetKeyValue)]
        generation = self._cache.generation
        missing = self._cache.hold(run_ids, self._number)
        with self._phases.timed("load"):
            if missing:
                loaded = await load_runs(await self._reading.get(), missing)
                if generation == self._cache.generation:
                    for run in loaded.values():
                        self._cache.put(run, self._number)
            if key_values:
                await load_key_values(
                    await self._reading.get(),
                    self._cache.key_values,
                    [(c.user_id, c.name) for c in key_values],
                    [(c.user_id, c.id) for c in key_values],
                )

    # ---- committing ------------------------------------------------------------------------

    async def _settle(self, work: Work, foldings: int = 1) -> None:
        """Commit, or whatever has to happen instead; `foldings` of the batch led to `work`."""
        try:
            done = await self._commit(work)
        except _REFUSALS as error:
            await self._settle_otherwise(work.batch, error, foldings)
        else:
            if done:
                await self._told(work)

    async def _commit(self, work: Work) -> bool:
        """Commit `work`, retrying what waiting cures; false when it is not ours any more."""
        for pause in pauses():
            if not self.intake.owns(work.batch):
                return False
            try:
                connection = await self._writing.get()
                await self._ensure_days(connection, work)
                with self._phases.timed("commit"):
                    await commit(connection, CONSUMER, self.intake.topic, work.moves, work.effects)
                return True
            except Exception as error:
                if not is_transient(error):
                    raise
                await self._retry_later("commit", self._writing, error, pause)
        raise AssertionError("pauses have no end")

    async def _told(self, work: Work) -> None:
        """What follows from a commit."""
        for portion in work.batch:
            portion.owned.done = portion.next_offset
        self._committed = work.number
        self._cache.trim(work.number)
        log.debug("committed", records=work.batch.size, entries=len(work.effects.entries))
        self._replies.add(work.replies)
        news = [one for one in work.news if one.events or one.dead_letters]
        if news:
            await self._publisher.add(news, self.republished)

    async def _settle_otherwise(self, batch: Batch, error: Exception, foldings: int) -> None:
        state = sqlstate(error)
        if state == FENCED:
            self._give_up(batch)
        elif state in _STALE_STATES and foldings < _FOLDINGS:
            log.info("folded_again", sqlstate=state, records=batch.size)
            await self._again(batch, foldings)
        elif state not in _STALE_STATES and (state or _DATA)[:2] in _DATA_ERRORS:
            await self._split(batch, error)
        else:
            raise error

    async def _again(self, batch: Batch, foldings: int = 0) -> None:
        """Fold and commit `batch` on states loaded anew."""
        self._cache.clear()
        work = await self._fold(batch)
        if work is not None:
            await self._settle(work, foldings + 1)

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
        self._unstorable[place] = Dead(
            DeadReason.NOT_STORABLE,
            {"sqlstate": sqlstate(error), "message": type(error).__name__},
        )
        await self._again(batch)
        self._unstorable.clear()

    def _give_up(self, batch: Batch) -> None:
        """Somebody else owns a partition. Faust will say so soon; if it does not, exit."""
        self._cache.clear()
        if not self.intake.owns(batch):
            return
        log.warning("fenced", partitions=[portion.owned.number for portion in batch])
        before = self.republished
        self.intake.lose_all()

        def check() -> None:
            if self.republished is before:
                crash("Fenced, and no new assignment came.")

        asyncio.get_running_loop().call_later(FENCED_PATIENCE, check)

    # ---- helpers ---------------------------------------------------------------------------

    async def _ensure_days(self, connection: asyncpg.Connection, work: Work) -> None:
        """Partitions for days near Kafka's time; the default partition takes all others."""
        for day in work.effects.days() - self._days:
            now = kafka_time(work.batch[0].records[0].timestamp).date()
            if now - _OLDEST_DAY <= day <= now + _NEWEST_DAY:
                await ensure_day(connection, day)
                self._days.add(day)

    async def _retry_later(self, what: str, line: Line, error: Exception, pause: float) -> None:
        log.warning("retry", what=what, error=repr(error)[:200])
        line.hang_up()
        await asyncio.sleep(pause)
