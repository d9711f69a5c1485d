"""Tallying batches: fold, commit behind the fence, show.

The commit of one batch overlaps with the fold of the next: what a batch adds does not depend on
what was before. An event that was counted before is known by its source, which is stored with the
offset.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from agents.config import WorkerConfig
from agents.failures import is_transient, note_retry, pauses, spawn
from agents.intake import Batch, Intake, Portion, Record
from agents.tally.live import LiveView
from agents.timing import Phases
from storage.lines import Line
from storage.progress import FENCED, Move, sqlstate
from storage.totals import commit_tally
from streams.tallying import Fact, Tally, decode_fact

log = structlog.get_logger(__name__)

CONSUMER = "tally"


@dataclass(slots=True)
class Work:
    """A folded batch, ready to be committed."""

    batch: Batch
    tally: Tally = field(default_factory=Tally)
    moves: list[Move] = field(default_factory=list)


class Tallier:
    """Holds what a worker of role `tally` keeps between batches."""

    def __init__(self, config: WorkerConfig, live: LiveView, phases: Phases) -> None:
        self.intake: Intake
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
        for pause in pauses():
            if not self.intake.owns(work.batch):
                return
            try:
                with self._phases.timed("commit"):
                    connection = await self._line.get()
                    topic = self.intake.topic
                    await commit_tally(connection, CONSUMER, topic, work.moves, work.tally)
                break
            except Exception as error:
                if sqlstate(error) == FENCED:
                    self._line.hang_up()  # it knows types of the schema that was
                    self.intake.give_up(work.batch)
                    return
                if not is_transient(error):
                    raise
                note_retry("commit", error)
                self._line.hang_up()
                await asyncio.sleep(pause)
        work.batch.settle()
        if self.intake.owns(work.batch):
            self._live.add(work.tally)


def fold_batch(batch: Batch) -> Work:
    """What `batch` adds to the totals, and how far each partition then is."""
    work = Work(batch)
    for portion in batch:
        owned = portion.owned
        counted = 0
        for fact in _news(portion):
            work.tally.count(fact)
            counted += 1
        move = Move(
            owned.number, portion.expected, owned.epoch, portion.next_offset, *owned.published
        )
        move.applied, move.duplicate = counted, len(portion.records) - counted
        work.moves.append(move)
    return work


def _news(portion: Portion) -> Iterator[Fact]:
    """The events of `portion` that were not counted before."""
    owned = portion.owned
    for record in portion.records:
        fact = _understood(record)
        if fact is not None:
            place = fact.source[1:]
            if place > owned.published:
                owned.published = place
                yield fact


def _understood(record: Record) -> Fact | None:
    """The event of `record`; None, and an error in the log, for what nobody of us wrote."""
    problem: Any = "source"
    try:
        fact = decode_fact(record.value or b"")
    except msgspec.DecodeError as error:
        problem = str(error)
    else:
        if fact.source[0] == record.partition:
            return fact
    place = {"partition": record.partition, "offset": record.offset}
    log.error("not_an_event", **place, error=problem)
    return None
