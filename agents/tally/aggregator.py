"""Tallying batches: fold, commit behind the fence, show.

The commit of one batch overlaps with the fold of the next: the additions of a batch do not depend
on earlier totals. An event that was counted before is recognised by its source, which is stored
with the offset.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from execstream.agents.budgets.judge import BudgetJudge
from execstream.agents.runtime.fencing import retry_while_owned
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBuffer
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.runtime.tasks import spawn
from execstream.agents.tally.live_view import LiveView
from execstream.config.settings import Settings
from execstream.storage.alerts.run_ends import add_run_ends
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.totals import commit_tally, load_blocks, load_nodes
from execstream.storage.connections import TALLY, Session
from execstream.streams.errors import NOT_READABLE
from execstream.streams.totals.aggregation import CURRENT, Tally, decode_fact
from execstream.streams.totals.definitions import Definitions
from execstream.streams.totals.live_values import LiveStats
from execstream.streams.totals.run_ends import NO_ENDS, EndFilter, RunEnd, end_filter

log = structlog.get_logger(__name__)

CONSUMER = "tally"


@dataclass(slots=True)
class BatchTotals:
    """A folded batch, ready to be committed. `loaded`: blocks and nodes that the tables lacked, as
    they are after the commit. `ends`: those that the webhook gets."""

    batch: Batch
    tally: Tally
    offset_commits: list[OffsetCommit] = field(default_factory=list)
    loaded: dict[str, LiveStats] = field(default_factory=dict)
    ends: list[RunEnd] = field(default_factory=list)


Attempt = Callable[[BatchTotals], Awaitable[None]]


class Tallier:
    """The work of a worker of role `tally`, with its state between batches."""

    def __init__(
        self,
        settings: Settings,
        buffer: PartitionBuffer,
        live: LiveView,
        phases: Phases,
        definitions: Definitions,
        budgets: BudgetJudge,
    ) -> None:
        self._budgets = budgets
        self._definitions = definitions
        self._buffer = buffer
        self._live = live
        self._phases = phases
        self._ends = _wanted_ends(settings)
        self._session = Session(settings.postgres, settings.schema_, TALLY)
        self._in_flight: asyncio.Task[None] | None = None

    async def tally(self, batch: Batch) -> None:
        """Fold `batch` while the one before is being committed, then begin to commit it."""
        with self._phases.timed("fold"):
            folded = fold_batch(batch, self._definitions, self._ends)
        if self._in_flight is not None:
            await self._in_flight
        self._in_flight = spawn(self._settle(folded))

    async def close(self) -> None:
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        await self._session.close()

    async def _settle(self, folded: BatchTotals) -> None:
        if await self._insist("commit", folded, self._commit):
            folded.batch.mark_committed()
            self._budgets.touch(folded.tally.spending)
            # There is no other commit between the two, so the loaded totals include this batch.
            if await self._insist("live_totals", folded, self._load_unknown):
                self._live.add(folded.tally, folded.loaded)

    async def _commit(self, folded: BatchTotals) -> None:
        connection = await self._session.get()
        about = (CONSUMER, self._buffer.topic, folded.offset_commits, folded.tally)
        with self._phases.timed("commit"):
            if not folded.ends:
                await commit_tally(connection, *about)
                return
            async with connection.transaction():
                await commit_tally(connection, *about)
                await add_run_ends(connection, folded.ends)

    async def _load_unknown(self, folded: BatchTotals) -> None:
        if blocks := self._live.unknown_blocks(folded.tally):
            folded.loaded |= await load_blocks(await self._session.get(), blocks)
        if nodes := self._live.unknown_nodes(folded.tally):
            folded.loaded |= await load_nodes(await self._session.get(), nodes)

    async def _insist(self, what: str, folded: BatchTotals, attempt: Attempt) -> bool:
        """Make `attempt` until it works; false when the batch is not ours any more."""
        return await retry_while_owned(
            what, lambda: attempt(folded), self._buffer, folded.batch, self._session
        )


def _wanted_ends(settings: Settings) -> EndFilter:
    """The ends of runs that the webhook gets; none without a webhook."""
    if settings.alert_webhook_url is None:
        return NO_ENDS
    return end_filter(
        settings.webhook_run_statuses, settings.webhook_run_graphs, settings.webhook_run_users
    )


def fold_batch(
    batch: Batch, definitions: Definitions = CURRENT, ends: EndFilter = NO_ENDS
) -> BatchTotals:
    """The additions of `batch` to the totals, the ends of runs that `ends` takes, and the new
    position of each partition.
    """
    folded = BatchTotals(batch, Tally(definitions))
    for part in batch:
        owned = part.owned
        counted = sum(_count(folded, ends, owned, record) for record in part.records)
        offset_commit = OffsetCommit(
            owned.number, part.expected, owned.epoch, part.next_offset, *owned.published
        )
        offset_commit.applied, offset_commit.duplicate = counted, len(part.records) - counted
        folded.offset_commits.append(offset_commit)
    return folded


def _count(folded: BatchTotals, ends: EndFilter, owned: AssignedPartition, record: Record) -> bool:
    """Count the event of `record`, unless it was counted before. A record that no worker of ours
    wrote is left out, with an error in the log.
    """
    try:
        fact = decode_fact(record.value or b"")
        if fact.source[0] == record.partition:
            place = fact.source[1:]
            is_new = place > owned.published
            if is_new:
                folded.tally.count(fact)
                owned.published = place
                if ends.statuses and (end := ends.end_of(fact)):
                    folded.ends.append(end)
            return is_new
        problem = "source"
    except NOT_READABLE as error:
        problem = str(error)
    place_in_topic = {"partition": record.partition, "offset": record.offset}
    log.error("not_an_event", **place_in_topic, error=problem)
    return False
