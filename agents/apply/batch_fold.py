"""Fold a batch of records into rows, events, replies and counts.

Pure but for the states it is given: nothing here waits, so a batch is folded in one go.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

from execstream.agents.apply.dead_letters import dead_letter
from execstream.agents.apply.publisher import OutboundRecord, OutboundRecords
from execstream.agents.apply.ruling import Judged, Ruling
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.metrics import (
    COMMANDS,
    DEAD_LETTERS,
    FAR_DATED_RUNS,
    FOREIGN_RUNS,
    QUARANTINED,
    REFUSALS,
)
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.storage.commit.write_set import WriteSet
from execstream.storage.log.run_partitions import is_foreign
from execstream.storage.schema.day_partitions import far_dated
from execstream.streams.append_time import append_time, is_skewed
from execstream.streams.commands import (
    COMMAND_TYPES,
    Command,
    RunCommand,
    SetKeyValue,
    type_of,
)
from execstream.streams.decoding import asks, decode
from execstream.streams.events import Event, encode_event, key_value_event, refused_event, run_event
from execstream.streams.fold import fold
from execstream.streams.imported import imported_as, mark_imported
from execstream.streams.journal import Entry, mark_skewed
from execstream.streams.key_values import fold_key_value
from execstream.streams.omitted import records_of
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    QuarantineReason,
    Refusal,
    Refused,
    wrong_partition,
)
from execstream.streams.quarantine import SetAside
from execstream.streams.state import Run

_TRACE_HEADERS = ("traceparent", "tracestate")
MAX_TRACE = 8 * 1024  # bytes of them; each event of a command carries them

_UNREAD = {Dead: "dead", SetAside: "quarantined"}

# Looked up, since isinstance asks the metaclass of structs, which takes longer.
_OF_RUNS = frozenset(one for one in COMMAND_TYPES.values() if issubclass(one, RunCommand))

Decoded = list[list[Command | Dead | SetAside]]  # by partition batch, by record


@dataclass(slots=True)
class BatchResult:
    """A folded batch, ready to be committed. `generation` is the cache's that it was folded on:
    when that has changed, the result is invalid. `foreign`: runs that began on a partition that
    their key does not choose. One that `is_bounded` ends when its write set is full; then `batch`
    has the folded records, and `rest` the others. `outbound` and `offset_commits` are by partition.
    `early`: records, by partition and offset, that are known to have come before another partition
    had their run.
    """

    batch: Batch
    number: int
    generation: int
    early: Collection[tuple[int, int]] = ()
    is_bounded: bool = False
    rest: Batch = field(default_factory=Batch)
    write_set: WriteSet = field(default_factory=WriteSet)
    offset_commits: list[OffsetCommit] = field(default_factory=list)
    outbound: list[OutboundRecords] = field(default_factory=list)
    replies: list[tuple[str, str, Outcome]] = field(default_factory=list)
    outcomes: Counter[tuple[type[Command | Dead | SetAside], type[Outcome]]] = field(
        default_factory=Counter
    )
    refusals: Counter[Refusal] = field(default_factory=Counter)
    dead: Counter[DeadReason] = field(default_factory=Counter)
    set_aside: Counter[QuarantineReason] = field(default_factory=Counter)
    ruling: Ruling | None = None
    foreign: int = 0

    def count(self) -> None:
        """Add the outcomes of the batch to the worker's metrics."""
        for (command, outcome), records in self.outcomes.items():
            name = type_of(command) if issubclass(command, Command) else _UNREAD[command]
            COMMANDS.labels(name, outcome.__name__.lower()).inc(records)
        for refusal, records in self.refusals.items():
            REFUSALS.labels(refusal.value).inc(records)
        for reason, records in self.dead.items():
            DEAD_LETTERS.labels(reason.value).inc(records)
        for cause, records in self.set_aside.items():
            QUARANTINED.labels(cause.value).inc(records)
        FOREIGN_RUNS.inc(self.foreign)
        FAR_DATED_RUNS.inc(far_dated(self.write_set.begun))


def decode_batch(batch: Batch, max_bytes: int, judged: Judged) -> Decoded:
    """The commands of a batch; of those in `judged` the outcome is known."""
    return [[decode_record(one, max_bytes, judged) for one in part.records] for part in batch]


def decode_record(record: Record, max_bytes: int, judged: Judged) -> Command | Dead | SetAside:
    """The command of one record; see `decode_batch`."""
    known = judged.get((record.partition, record.offset)) if judged else None
    return known or decode(record.key, record.value, max_bytes)


OnApplied = Callable[[OutboundRecords, Record, Run, Sequence[Entry]], None]


def emit_events(
    outbound: OutboundRecords, record: Record, run: Run, entries: Sequence[Entry]
) -> None:
    """Add the events for the effect of `record` on `run`, to be published after the commit."""
    partition, offset = record.partition, record.offset + outbound.owned.base
    trace = _trace(record) if record.headers else ()
    for index, entry in enumerate(entries):
        event = encode_event(run_event(run, entry, (partition, offset, index)))
        outbound.events.append(OutboundRecord((offset, index), record.key, event, trace))


def fold_batch(
    folded: BatchResult, decoded: Decoded, cache: RunCache, on_applied: OnApplied = emit_events
) -> None:
    """Fold `decoded` on the cached states, which must hold every run that exists.

    `on_applied` is called with the entries of each command that was applied to a run."""
    parts, folded.batch = folded.batch, Batch()
    for part, commands in zip(parts, decoded, strict=True):
        first, rest = part.cut(_Folder(folded, part, cache, on_applied).fold(commands))
        if first is not None:
            folded.batch.append(first)
        if rest is not None:
            folded.rest.append(rest)
    folded.write_set.build_rows()
    for run_id in folded.write_set.run_ids():
        if run := cache.get(run_id):
            cache.put(run, folded.number)


class _Folder:
    """Folds one portion."""

    def __init__(
        self, folded: BatchResult, part: PartitionBatch, cache: RunCache, on_applied: OnApplied
    ) -> None:
        self.part, self.cache, self.folded, self.on_applied = part, cache, folded, on_applied
        self.owned: AssignedPartition = part.owned
        self.write_set = folded.write_set
        self.outbound = OutboundRecords(self.owned)
        self.offset_commit = OffsetCommit(
            partition=self.owned.number,
            expected=part.expected,
            epoch=self.owned.epoch,
            next=part.expected,
            published_offset=self.owned.published[0],
            published_index=self.owned.published[1],
        )

    def fold(self, commands: list[Command | Dead | SetAside]) -> int:
        """Fold `commands` as far as there is room; return the number folded."""
        outcomes, is_bounded = self.folded.outcomes, self.folded.is_bounded
        count = 0
        for record, command in zip(self.part.records, commands, strict=True):
            if is_bounded and self.write_set.is_full:
                break
            count += 1
            outcome = self._apply(record, command)
            records = 1
            if isinstance(outcome, Applied):
                self.offset_commit.applied += 1
            elif isinstance(outcome, Duplicate):
                self.offset_commit.duplicate += 1
            elif isinstance(outcome, Refused):
                self.offset_commit.refused += 1
            elif isinstance(outcome, Dead):
                records = records_of(record.value)
                self._add_dead_letter(record, outcome)
            outcomes[command.__class__, outcome.__class__] += records
            if command.__class__ in _UNREAD or cast(Command, command).reply_to is not None:
                self._answer(record, command, outcome)
        if count:
            self.offset_commit.next = self.part.records[count - 1].offset + 1
            self.folded.offset_commits.append(self.offset_commit)
            self.folded.outbound.append(self.outbound)
        return count

    def _apply(self, record: Record, command: Command | Dead | SetAside) -> Outcome:
        if command.__class__ in _OF_RUNS:
            return self._apply_to_run(record, command)
        if isinstance(command, SetKeyValue):
            return self._apply_key_value(record, command)
        if isinstance(command, SetAside):
            return command.outcome
        assert isinstance(command, Dead)  # noqa: S101 - shows the type checker that none is left
        return command

    def _apply_to_run(self, record: Record, command: RunCommand) -> Outcome:
        run = self.cache.get(command.graph_exec_id)
        if run is not None and run.partition != record.partition:
            if (record.partition, record.offset) not in self.folded.early:
                return wrong_partition(run.partition, record.partition)
            run = None
        result = fold(run, command, record.partition)
        if not isinstance(result, tuple):
            if isinstance(result, Refused):
                return self._refuse(record, command, result)
            return result
        if run is None:
            self.cache.put(result[0], self.folded.number)  # weighed again after the batch
            self.write_set.add_begun_run(result[0], append_time(record))
            self.folded.foreign += is_foreign(result[0].id, record.partition)
        run, entries = result
        if is_skewed(entries[0].at, record):
            mark_skewed(entries)
        if record.headers and (imported := imported_as(entries[0].at, record)):
            mark_imported(entries, imported)
        offset = record.offset + self.owned.base
        for index, entry in enumerate(entries):
            self.write_set.add_entry(run, entry, record.partition, offset, index)
        self.on_applied(self.outbound, record, run, entries)
        return run.outcomes[command.id]

    def _apply_key_value(self, record: Record, command: SetKeyValue) -> Outcome:
        result = fold_key_value(self.cache.key_values, command)
        if isinstance(result, Refused):
            return self._refuse(record, command, result)
        if isinstance(result, Applied):
            offset = record.offset + self.owned.base
            self.write_set.add_key_value(command, record.partition, offset)
            event = key_value_event(command, (record.partition, offset, 0))
            self._emit(record, offset, event)
        return result

    def _refuse(self, record: Record, command: Command, refused: Refused) -> Refused:
        offset = record.offset + self.owned.base
        self.folded.refusals[refused.reason] += 1
        self.write_set.add_refusal(command, refused, record.partition, offset)
        event = refused_event(command, refused, (record.partition, offset, 0))
        self._emit(record, offset, event)
        return refused

    def _emit(self, record: Record, offset: int, event: Event) -> None:
        outbound_record = OutboundRecord(
            (offset, 0), record.key, encode_event(event), _trace(record)
        )
        self.outbound.events.append(outbound_record)

    def _answer(self, record: Record, command: Command | Dead | SetAside, outcome: Outcome) -> None:
        """Reply to the sender, where one asks for it; a record without an effect is kept first."""
        if isinstance(command, Command):
            asking = command.reply_to and (command.reply_to, command.id)
        elif isinstance(command, Dead):
            asking = asks(record.value, command)
        else:
            self.folded.set_aside[command.outcome.reason] += 1
            self.write_set.add_set_aside(record, command)
            asking = command.sender.asks
        if asking:
            self.folded.replies.append((*asking, outcome))

    def _add_dead_letter(self, record: Record, dead: Dead) -> None:
        self.offset_commit.dead += records_of(record.value)
        self.folded.dead[dead.reason] += 1
        self.write_set.add_dead_letter(record, dead, self.owned.base)
        self.outbound.dead_letters.append(dead_letter(record, dead, self.owned.base))


def _trace(record: Record) -> Sequence[tuple[str, bytes | None]]:
    """The headers that are carried on to the events: a trace goes through."""
    if not record.headers:
        return ()
    trace = [header for header in record.headers if header[0] in _TRACE_HEADERS]
    size = sum(len(name) + len(value or b"") for name, value in trace)
    return trace if size <= MAX_TRACE else ()
