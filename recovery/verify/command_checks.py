"""A second fold of the commands topic, against journal, key-values, refusals and dead letters.

The checks reach back as far as the topic. They leave out commands without sufficient evidence:
about runs without a journal, and key-values of users with writes on several partitions.
"""

from collections.abc import AsyncIterator, Sequence

import asyncpg
from aiokafka import AIOKafkaConsumer
from faust.types import TP

from execstream.agents.apply.batch_fold import BatchResult, Decoded, fold_batch
from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.fetched_records import Record
from execstream.agents.runtime.partition_buffer import AssignedPartition, Batch, PartitionBatch
from execstream.kafka.reader import records
from execstream.recovery.stored_judgements import (
    Judged,
    KeptJudgements,
    Stored,
    keep_judgements,
)
from execstream.recovery.verify.earlier_states import (
    OffsetRange,
    compare_range,
    key_values_before,
    refused_as_unknown,
    scattered_users,
    states_before,
)
from execstream.recovery.verify.erased_rows import without_forgotten
from execstream.recovery.verify.report import MEND_ALL, REBUILD, Report
from execstream.storage.commit.write_set import Row, WriteSet
from execstream.storage.log.held_records import judged_positions
from execstream.storage.schema.tables import JOURNAL, KEY_VALUE_JOURNAL
from execstream.streams.commands import CreateGraph, RunCommand, SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.events import NOWHERE
from execstream.streams.state import Run

CACHE_BYTES = 96 * 1024 * 1024  # estimated size of states
_TYPE, _DETAIL = 5, 9  # columns of `journal`

_Read = tuple[Record, Judged]


class CommandChecks:
    """Folds partitions of `topic`, one after the other."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        report: Report,
        schema: str,
        topic: str,
        max_command_bytes: int,
    ) -> None:
        self._schema = schema
        self._connection = connection
        self._report = report
        self._topic = topic
        self._max_command_bytes = max_command_bytes
        self.compared = 0
        self.skipped = 0
        self.forgotten = 0
        self.kept = KeptJudgements()

    async def check(
        self, reader: AIOKafkaConsumer, partition: int, begin: int, end: int, base: int
    ) -> AsyncIterator[int]:
        """Kafka's offsets `begin` to `end` of a partition; yields the number of those checked."""
        broken = frozenset(self._report.broken)
        decided = await judged_positions(self._connection, self._schema, self._topic)
        stored = Stored(self._schema, self._topic, partition, base)
        folding = _Partition(self._connection, self._topic, partition, base, broken)
        async for some in records(reader, self._topic, partition, begin, end):
            decoded: list[Judged] = [
                decided.get((partition, one.offset))
                or decode(one.key, one.value, self._max_command_bytes)
                for one in some
            ]
            kept = await keep_judgements(self._connection, stored, some, decoded, decided)
            self.kept.add(kept)
            end_of_some = some[-1].offset + 1
            offset_range = OffsetRange.of(stored, begin, end_of_some)
            offset_range.skipped.extend(one.offset + base for one in kept if one.has_bytes)
            await self._check(folding, some, decoded, offset_range)
            begin = end_of_some
            yield len(some)
        if begin < end:  # nothing may be stored of offsets that no record has
            await self._check(folding, [], [], OffsetRange.of(stored, begin, end))

    async def _check(
        self,
        folding: "_Partition",
        some: Sequence[Record],
        decoded: list[Judged],
        offset_range: OffsetRange,
    ) -> None:
        unread = len(offset_range.skipped)
        write_set = await folding.fold(some, decoded, offset_range)
        self.compared += len(some) - len(offset_range.skipped)
        self.skipped += len(offset_range.skipped) - unread
        found = await compare_range(self._connection, offset_range, write_set)
        kept = await without_forgotten(self._connection, found)
        self.forgotten += len(found) - len(kept)
        for differing in kept:
            is_entry = differing.table is JOURNAL
            self._report.add_rows([differing], MEND_ALL if is_entry else REBUILD)
            if is_entry:
                self._report.broken |= differing.values("graph_exec_id")
                self._report.journal.append(differing)
            if differing.table is KEY_VALUE_JOURNAL:
                self._report.broken_users |= differing.values("user_id")


class _Partition:
    """The state of a partition between ranges."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        topic: str,
        number: int,
        base: int,
        broken: frozenset[str],
    ) -> None:
        self._connection = connection
        self._broken = broken
        self._owned = AssignedPartition(TP(topic, number), 0, base, NOWHERE, 0, 0)
        self._cache = RunCache(CACHE_BYTES)
        self._offset_ranges = 0
        self._erased: set[str] = set()
        self._begun: set[str] = set()
        self._foreign: set[str] = set()

    async def fold(
        self, some: Sequence[Record], decoded: list[Judged], offset_range: OffsetRange
    ) -> WriteSet:
        """The rows that must be stored of the journal, key-values, refusals and dead letters;
        offsets without evidence are added to the skipped offsets of `offset_range`.
        """
        base, begin = self._owned.base, offset_range.begin - self._owned.base
        self._offset_ranges += 1
        unread = set(offset_range.skipped)
        left_out = await self._load(decoded, offset_range) | await self._load_key_values(
            decoded, offset_range
        )
        early = await refused_as_unknown(self._connection, offset_range) if self._foreign else set()
        kept: list[_Read] = []
        kept_early: list[_Read] = []
        for record, command in zip(some, decoded, strict=True):
            owner = _about(command)
            if owner in left_out:
                offset_range.skipped.append(record.offset + base)
            elif owner in self._foreign and record.offset + base in early:
                kept_early.append((record, command))
            elif record.offset + base not in unread:
                kept.append((record, command))
        write_set = self._fold(kept, begin, self._cache)
        self._cache.trim(self._offset_ranges)
        # When these came, their run had not yet begun on its own partition.
        write_set.refusals += self._fold(kept_early, begin, RunCache(CACHE_BYTES)).refusals
        write_set.entries = [
            row for row in write_set.entries if row[0] not in self._erased or _is_closing(row)
        ]
        return write_set

    def _fold(self, kept: Sequence[_Read], begin: int, cache: RunCache) -> WriteSet:
        if not kept:
            return WriteSet()
        part = PartitionBatch(self._owned, begin, [record for record, _ in kept])
        folded = BatchResult(Batch([part]), self._offset_ranges, cache.generation)
        commands: Decoded = [[command for _, command in kept]]
        fold_batch(folded, commands, cache, lambda *_: None)
        return folded.write_set

    async def _load(self, decoded: Sequence[Judged], offset_range: OffsetRange) -> set[str]:
        """Load the known states into the cache; return the runs with too little evidence."""
        commands = [one for one in decoded if isinstance(one, RunCommand)]
        firsts: dict[str, RunCommand] = {}
        for command in commands:
            firsts.setdefault(command.graph_exec_id, command)
        missing = self._cache.hold(firsts, self._offset_ranges)
        broken = self._broken.intersection(missing)
        states = await states_before(
            self._connection, set(missing) - broken, offset_range.partition, offset_range.begin
        )
        unknown = set(states.unknown)
        for run_id in states.erased | broken:
            # Its entries do not determine its state: it can be folded from its beginning, and only
            # once.
            if run_id in self._begun or not isinstance(firsts[run_id], CreateGraph):
                unknown.add(run_id)
        self._begun |= states.erased | broken
        self._erased |= states.erased
        self._foreign |= states.foreign.keys()
        for run in states.runs.values():
            self._cache.put(run, self._offset_ranges)
        for run_id, partition in states.foreign.items():
            self._cache.put(_elsewhere(firsts[run_id], partition), self._offset_ranges)
        return unknown

    async def _load_key_values(
        self, decoded: Sequence[Judged], offset_range: OffsetRange
    ) -> set[str]:
        """Load the known key-values into the cache; return the users with too little evidence."""
        commands = [one for one in decoded if isinstance(one, SetKeyValue)]
        if not commands:
            return set()
        self._cache.key_values = await key_values_before(
            self._connection,
            {(one.user_id, one.name) for one in commands},
            {(one.user_id, one.id) for one in commands},
            offset_range.partition,
            offset_range.begin,
        )
        users = {one.user_id for one in commands}
        scattered = await scattered_users(
            self._connection, users, offset_range.topic, offset_range.partition
        )
        return {_USER + user for user in scattered}


_USER = "user "  # before a user's id; no run's id begins so


def _about(command: Judged) -> str | None:
    if isinstance(command, RunCommand):
        return command.graph_exec_id
    return _USER + command.user_id if isinstance(command, SetKeyValue) else None


def _elsewhere(command: RunCommand, partition: int) -> Run:
    """A run of another partition, without further fields."""
    return Run(
        id=command.graph_exec_id,
        partition=partition,
        user_id="",
        graph_id="",
        graph_version=1,
        created_at=command.time,
    )


def _is_closing(row: Row) -> bool:
    return row[_TYPE] == "graph.deleted" and '"hard":true' in (row[_DETAIL] or "")
