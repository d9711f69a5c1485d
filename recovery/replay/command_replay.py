"""Replay of commands into rows, by the rules of the workers.

Like theirs, a batch that Postgres refuses is split in halves until the culprit is alone.

Where commands of one run came on two partitions, the topic does not show which came first, and so
which is a dead letter: the decisions of the live schema are copied, as far as it has them. So are
the positions of records in quarantine: their failures are not tried again; and so are the decisions
of earlier versions to apply or bury a record, whatever today's rules decide.
"""

from collections.abc import Mapping, Sequence

from execstream.agents.apply.batch_fold import BatchResult, decode_batch, fold_batch
from execstream.agents.apply.publisher import OutboundRecords
from execstream.agents.apply.state_loading import (
    REFUSALS,
    is_stale,
    is_unstorable,
    load_states,
    not_storable,
)
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import Batch
from execstream.agents.runtime.retries import retrying
from execstream.recovery.replay.assignment import TakenOver, Writer
from execstream.recovery.replay.command_reader import read_commands
from execstream.recovery.replay.journal_facts import fact_of
from execstream.recovery.replay.kept_judgements import LiveJudgements
from execstream.recovery.replay.live_schema import Foreign, foreign_records
from execstream.recovery.replay.truncated_commands import without_lost
from execstream.storage.commit.consumer_offsets import FENCED
from execstream.storage.connections import sqlstate
from execstream.storage.log.dead_letters import RecordPosition
from execstream.storage.log.held_records import judged_positions
from execstream.streams.journal import Entry
from execstream.streams.outcomes import Dead, DeadReason
from execstream.streams.quarantine import SetAside
from execstream.streams.state import Run
from execstream.streams.totals.aggregation import Tally

FOLDINGS = 20  # of one batch; each time another process was faster with one of its runs


async def replay_commands(writer: Writer) -> None:
    """Fold the commands of the writer's partitions up to the share's ends."""
    assignment = writer.assignment
    connection = await writer.session.get()
    foreign = await foreign_records(connection, assignment.live, assignment.topic)
    judged = await judged_positions(connection, assignment.live, assignment.topic)
    stored = LiveJudgements(assignment.live, assignment.topic)
    await stored.begin(connection)
    folding = _Folding(writer, foreign, judged, stored)
    batches = read_commands(
        assignment.settings.kafka,
        *(writer.parts, assignment.ends, writer.limit),
        archive=assignment.archive,
    )
    async for batch in batches:
        if assignment.is_orphaned:
            return
        async with writer.throttle.turn():
            await folding.apply(batch)


class _Folding:
    def __init__(
        self,
        writer: Writer,
        foreign: Foreign,
        judged: Mapping[RecordPosition, Dead | SetAside],
        stored: LiveJudgements,
    ) -> None:
        self._writer = writer
        self._stored = stored
        self._early = foreign.early
        self._judged: dict[RecordPosition, Dead | SetAside] = {
            place: Dead(DeadReason.WRONG_PARTITION, detail)
            for place, detail in foreign.dead.items()
        }
        self._judged.update(judged)

    async def apply(self, batch: Batch) -> None:
        """Fold and write `batch`; records that Postgres refuses become dead letters."""
        try:
            await self._insist(batch)
        except REFUSALS as error:
            if not is_unstorable(error):
                raise
            await self._split(batch, error)

    async def _split(self, batch: Batch, error: Exception) -> None:
        if batch.size > 1:
            for half in batch.halves():
                await self.apply(half)
            return
        record = batch[0].records[0]
        self._judged[record.partition, record.offset] = not_storable(error)
        await self._insist(batch)

    async def _insist(self, batch: Batch) -> None:
        """Fold and write `batch`, again where waiting or newer states help."""
        await retrying("replay", lambda: self._attempt(batch), self._writer.session)

    async def _attempt(self, batch: Batch) -> None:
        """Fold and write `batch`, again where newer states help."""
        for folding in range(1, FOLDINGS + 1):
            try:
                await self._fold_and_write(batch)
                return
            except Exception as error:
                self._writer.cache.clear()
                if sqlstate(error) == FENCED:
                    schema = self._writer.assignment.schema
                    raise TakenOver(f"Another replay into {schema} has begun.") from error
                if not is_stale(error) or folding == FOLDINGS:
                    raise

    async def _fold_and_write(self, batch: Batch) -> None:
        writer = self._writer
        writer.number += 1
        tally = Tally(writer.definitions)

        def count(
            outbound: OutboundRecords, record: Record, run: Run, entries: Sequence[Entry]
        ) -> None:
            offset = record.offset + outbound.owned.base
            for index, entry in enumerate(entries):
                fact = fact_of(run, entry, (record.partition, offset, index))
                if fact is not None:
                    tally.count(fact)

        decoded = decode_batch(batch, writer.assignment.settings.max_command_bytes, self._judged)
        await self._stored.keep(await writer.session.get(), batch, decoded, self._judged)
        if writer.assignment.copies_lost:
            batch, decoded = await without_lost(writer, batch, decoded)
        folded = BatchResult(batch, writer.number, writer.cache.generation, self._early)
        await load_states(writer.session, writer.cache, decoded, writer.number)
        fold_batch(folded, decoded, writer.cache, count)
        folded.write_set.quarantine.forget_rows()  # those of the live schema are copied at a swap
        await writer.write(folded.offset_commits, folded.write_set, tally)
