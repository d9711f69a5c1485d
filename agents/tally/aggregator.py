"""Tallying batches: fold, commit behind the fence, show.

The commit of one batch overlaps with the fold of the next: what a batch adds does not depend on
what was before. An event that was counted before is known by its source, which is stored with the
offset.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from execstream.agents.config import WorkerConfig
from execstream.agents.runtime.partition_buffer import Batch, Intake, Owned, Record
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.retries import is_transient, note_retry, pauses, spawn
from execstream.agents.tally.live_view import LiveView
from execstream.storage.commit.consumer_offsets import FENCED, Move, sqlstate
from execstream.storage.commit.totals import commit_tally, load_nodes
from execstream.storage.lines import Line
from execstream.streams.errors import NOT_READABLE
from execstream.streams.totals.aggregation import Tally, decode_fact
from execstream.streams.totals.live_values import LiveStats

log = structlog.get_logger(__name__)

CONSUMER = "tally"


@dataclass(slots=True)
class Work:
    """A folded batch, ready to be committed. `loaded`: nodes that the live table did not hold, as
    they are after the commit."""

    batch: Batch
    tally: Tally = field(default_factory=Tally)
    moves: list[Move] = field(default_factory=list)
    loaded: dict[str, LiveStats] = field(default_factory=dict)


Attempt = Callable[[Work], Awaitable[None]]


class Tallier:
    """Holds what a worker of role `tally` keeps between batches."""

    def __init__(
        self, config: WorkerConfig, intake: Intake, live: LiveView, phases: Phases
    ) -> None:
        self._intake = intake
        self._live = live
        self._phases = phases
        self._line = Line(config.postgres_dsn, config.schema)
        self._in_flight: asyncio.Task[None] | None = None

    async def tally(self, batch: Batch) -> None:
        """Fold `batch` while the one before is being committed, then begin to commit it."""
        with self._phases.timed("fold"):
            work = fold_batch(batch)
        if self._in_flight is not None:
            await self._in_flight
        self._in_flight = spawn(self._settle(work))

    async def close(self) -> None:
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        await self._line.close()

    async def _settle(self, work: Work) -> None:
        if await self._insist("commit", work, self._commit):
            work.batch.settle()
            # Nothing else is committed between the two, so what is loaded has this batch in it.
            if await self._insist("live_nodes", work, self._load_nodes):
                self._live.add(work.tally, work.loaded)

    async def _commit(self, work: Work) -> None:
        connection = await self._line.get()
        with self._phases.timed("commit"):
            await commit_tally(connection, CONSUMER, self._intake.topic, work.moves, work.tally)

    async def _load_nodes(self, work: Work) -> None:
        if unknown := self._live.unknown_nodes(work.tally):
            work.loaded = await load_nodes(await self._line.get(), unknown)

    async def _insist(self, what: str, work: Work, attempt: Attempt) -> bool:
        """Make `attempt` until it works; false when the batch is not ours any more."""
        for pause in pauses():
            if not self._intake.owns(work.batch):
                break
            try:
                await attempt(work)
                return self._intake.owns(work.batch)
            except Exception as error:
                if sqlstate(error) == FENCED:
                    self._line.hang_up()  # it knows types of the schema that was
                    self._intake.give_up(work.batch)
                    break
                if not is_transient(error):
                    raise
                note_retry(what, error)
                self._line.hang_up()
                await asyncio.sleep(pause)
        return False


def fold_batch(batch: Batch) -> Work:
    """What `batch` adds to the totals, and how far each partition then is."""
    work = Work(batch)
    for portion in batch:
        owned = portion.owned
        counted = sum(_count(work.tally, owned, record) for record in portion.records)
        move = Move(
            owned.number, portion.expected, owned.epoch, portion.next_offset, *owned.published
        )
        move.applied, move.duplicate = counted, len(portion.records) - counted
        work.moves.append(move)
    return work


def _count(tally: Tally, owned: Owned, record: Record) -> bool:
    """Count the event of `record`, unless it was counted before. What nobody of us wrote is left
    out, with an error in the log."""
    try:
        fact = decode_fact(record.value or b"")
        if fact.source[0] == record.partition:
            place = fact.source[1:]
            is_news = place > owned.published
            if is_news:
                tally.count(fact)
                owned.published = place
            return is_news
        problem = "source"
    except NOT_READABLE as error:
        problem = str(error)
    place_in_topic = {"partition": record.partition, "offset": record.offset}
    log.error("not_an_event", **place_in_topic, error=problem)
    return False
