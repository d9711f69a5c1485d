"""From a batch of records to everything that follows from it: rows, events, replies, counts.

Pure but for the states it is given: nothing here waits, so a batch is folded in one go.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from execstream.agents.apply.dead_letters import dead_letter
from execstream.agents.apply.publisher import News, Saying
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.metrics import COMMANDS, DEAD_LETTERS, REFUSALS
from execstream.agents.runtime.partition_buffer import Batch, Owned, Portion, Record
from execstream.storage.commit.consumer_offsets import Move
from execstream.storage.commit.write_set import Effects, kafka_time
from execstream.streams.commands import Command, RunCommand, SetKeyValue, type_of
from execstream.streams.decoding import asks, decode
from execstream.streams.events import Event, encode_event, key_value_event, refused_event, run_event
from execstream.streams.fold import fold
from execstream.streams.journal import Entry
from execstream.streams.key_values import fold_key_value
from execstream.streams.outcomes import (
    Applied,
    Dead,
    DeadReason,
    Duplicate,
    Outcome,
    Refusal,
    Refused,
)
from execstream.streams.state import Run

_TRACE_HEADERS = ("traceparent", "tracestate")
MAX_TRACE = 8 * 1024  # bytes of them; each event of a command carries them

Decoded = list[list[Command | Dead]]  # by portion, by record


@dataclass(slots=True)
class Work:
    """A folded batch, ready to be committed. `generation` is the cache's that it was folded on:
    when that has changed, it is worth nothing. `news` and `moves` are by portion. `early`: records,
    by partition and offset, that are known to have come before another partition had their run."""

    batch: Batch
    number: int
    generation: int
    early: Collection[tuple[int, int]] = ()
    effects: Effects = field(default_factory=Effects)
    moves: list[Move] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    replies: list[tuple[str, str, Outcome]] = field(default_factory=list)
    outcomes: Counter[tuple[type[Command | Dead], type[Outcome]]] = field(default_factory=Counter)
    refusals: Counter[Refusal] = field(default_factory=Counter)
    dead: Counter[DeadReason] = field(default_factory=Counter)

    def count(self) -> None:
        """Add what became of the batch to the worker's metrics."""
        for (command, outcome), records in self.outcomes.items():
            name = "dead" if issubclass(command, Dead) else type_of(command)
            COMMANDS.labels(name, outcome.__name__.lower()).inc(records)
        for refusal, records in self.refusals.items():
            REFUSALS.labels(refusal.value).inc(records)
        for reason, records in self.dead.items():
            DEAD_LETTERS.labels(reason.value).inc(records)


def decode_batch(batch: Batch, max_bytes: int, unstorable: dict[tuple[int, int], Dead]) -> Decoded:
    """The commands of a batch; `unstorable` by (partition, offset) are known to be dead."""
    return [
        [
            unstorable.get((record.partition, record.offset))
            or decode(record.key, record.value, max_bytes)
            for record in portion.records
        ]
        for portion in batch
    ]


Tell = Callable[[News, Record, Run, Sequence[Entry]], None]


def say_events(news: News, record: Record, run: Run, entries: Sequence[Entry]) -> None:
    """Tell what `record` did to `run` as events, which are published after the commit."""
    offset = record.offset + news.owned.base
    key = run.id.encode()
    trace = _trace(record)
    for index, entry in enumerate(entries):
        event = run_event(run, entry, (record.partition, offset, index))
        news.events.append(Saying((offset, index), key, encode_event(event), trace))


def fold_batch(work: Work, decoded: Decoded, cache: RunCache, tell: Tell = say_events) -> None:
    """Fold `decoded` on the cached states, which must hold every run that exists; `tell` is told
    what was applied to a run."""
    for portion, commands in zip(work.batch, decoded, strict=True):
        _Folder(work, portion, cache, tell).fold(commands)
    work.effects.freeze()
    for run_id in work.effects.touched():
        if run := cache.get(run_id):
            cache.put(run, work.number)


class _Folder:
    """Folds one portion."""

    def __init__(self, work: Work, portion: Portion, cache: RunCache, tell: Tell) -> None:
        self.portion, self.cache, self.work, self.tell = portion, cache, work, tell
        self.owned: Owned = portion.owned
        self.effects = work.effects
        self.news = News(self.owned)
        self.move = Move(
            partition=self.owned.number,
            expected=portion.expected,
            epoch=self.owned.epoch,
            next=portion.next_offset,
            published_offset=self.owned.published[0],
            published_index=self.owned.published[1],
        )

    def fold(self, commands: list[Command | Dead]) -> None:
        outcomes = self.work.outcomes
        for record, command in zip(self.portion.records, commands, strict=True):
            outcome = self._apply(record, command)
            outcomes[command.__class__, outcome.__class__] += 1
            if isinstance(outcome, Applied):
                self.move.applied += 1
            elif isinstance(outcome, Duplicate):
                self.move.duplicate += 1
            elif isinstance(outcome, Refused):
                self.move.refused += 1
            else:
                self.move.dead += 1
                self._bury(record, outcome)
            if isinstance(command, Dead):
                if asking := asks(record.value, command):
                    self.work.replies.append((*asking, outcome))
            elif command.reply_to is not None:
                self.work.replies.append((command.reply_to, command.id, outcome))
        self.work.moves.append(self.move)
        self.work.news.append(self.news)

    def _apply(self, record: Record, command: Command | Dead) -> Outcome:
        if isinstance(command, RunCommand):
            return self._apply_to_run(record, command)
        if isinstance(command, SetKeyValue):
            return self._apply_key_value(record, command)
        assert isinstance(command, Dead)  # noqa: S101 - tells the type checker that none is left
        return command

    def _apply_to_run(self, record: Record, command: RunCommand) -> Outcome:
        run = self.cache.get(command.graph_exec_id)
        if run is not None and run.partition != record.partition:
            if (record.partition, record.offset) not in self.work.early:
                return Dead(
                    DeadReason.WRONG_PARTITION,
                    {"expected": run.partition, "found": record.partition},
                )
            run = None
        result = fold(run, command, record.partition)
        if isinstance(result, Refused):
            return self._refuse(record, command, result)
        if isinstance(result, Duplicate):
            return result
        if run is None:
            self.cache.put(result[0], self.work.number)  # weighed again after the batch
            self.effects.begin(result[0], kafka_time(record.timestamp))
        run, entries = result
        offset = record.offset + self.owned.base
        for index, entry in enumerate(entries):
            self.effects.add_entry(run, entry, record.partition, offset, index)
        self.tell(self.news, record, run, entries)
        return run.outcomes[command.id]

    def _apply_key_value(self, record: Record, command: SetKeyValue) -> Outcome:
        result = fold_key_value(self.cache.key_values, command)
        if isinstance(result, Refused):
            return self._refuse(record, command, result)
        if isinstance(result, Applied):
            offset = record.offset + self.owned.base
            self.effects.add_key_value(command, record.partition, offset)
            event = key_value_event(command, (record.partition, offset, 0))
            self._say(record, offset, event)
        return result

    def _refuse(self, record: Record, command: Command, refused: Refused) -> Refused:
        offset = record.offset + self.owned.base
        self.work.refusals[refused.reason] += 1
        self.effects.add_refusal(command, refused, record.partition, offset)
        event = refused_event(command, refused, (record.partition, offset, 0))
        self._say(record, offset, event)
        return refused

    def _say(self, record: Record, offset: int, event: Event) -> None:
        saying = Saying((offset, 0), record.key, encode_event(event), _trace(record))
        self.news.events.append(saying)

    def _bury(self, record: Record, dead: Dead) -> None:
        self.work.dead[dead.reason] += 1
        self.effects.add_dead_letter(record, dead, self.owned.base)
        self.news.dead_letters.append(dead_letter(record, dead, self.owned.base))


def _trace(record: Record) -> Sequence[tuple[str, bytes | None]]:
    """The headers that are carried on to the events: a trace goes through."""
    if not record.headers:
        return ()
    trace = [header for header in record.headers if header[0] in _TRACE_HEADERS]
    size = sum(len(name) + len(value or b"") for name, value in trace)
    return trace if size <= MAX_TRACE else ()
