"""The events topic against the journal, and the totals against a recount, in one pass.

Events come at least once: an event that is not above the last source of its partition is a
repetition.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer

from execstream.kafka.reader import Extent, records
from execstream.recovery.verify.earlier_states import forgotten
from execstream.recovery.verify.recomputed_totals import (
    RecomputedTotals,
    partly_kept,
)
from execstream.recovery.verify.report import REPUBLISH, Difference, Report, unreadable
from execstream.storage.log.events import EventBuilder
from execstream.storage.log.reader import read_partition
from execstream.storage.unreadable_rows import UnreadableRun
from execstream.streams import exact_json
from execstream.streams.errors import NOT_READABLE
from execstream.streams.events import NOWHERE, Event, SourceOffset, encode_event
from execstream.streams.totals.aggregation import Tally, decode_fact
from execstream.streams.totals.definitions import Definitions

_PAYLOADS = (
    *("data", "stats", "execution_data", "inputs", "credential_inputs", "nodes_input_masks"),
    "attributes",
)


class _Source(msgspec.Struct):
    source: tuple[int, int, int]


_decode_source = msgspec.json.Decoder(_Source).decode
_SourceValue = tuple[SourceOffset, bytes]


class Topic:
    """The events of one partition as a subscriber keeps them, read as far as requested."""

    def __init__(self, reader: AIOKafkaConsumer, name: str, partition: int, extent: Extent) -> None:
        first, end = extent.first.get(partition, 0), extent.end.get(partition, 0)
        self._source_values = _source_values(records(reader, name, partition, first, end))
        self._next: _SourceValue | None = None
        self.begin: SourceOffset | None = None
        self.last: SourceOffset = NOWHERE

    async def open(self) -> None:
        """Read the first event; `begin` is its place, None when there is no event."""
        await self._move()
        self.begin = None if self._next is None else self._next[0]

    async def until(self, place: SourceOffset) -> list[_SourceValue]:
        """The next events up to `place`, which is the last of them if it exists."""
        found = []
        while self._next is not None and self._next[0] <= place:
            found.append(self._next)
            await self._move()
        return found

    async def _move(self) -> None:
        self._next = await anext(self._source_values, None)
        if self._next is not None:
            self.last = self._next[0]


async def _source_values(found: AsyncIterator[Sequence[Any]]) -> AsyncIterator[_SourceValue]:
    last: SourceOffset = NOWHERE
    async for some in found:
        for record in some:
            try:
                _, *place = _decode_source(record.value or b"").source
            except NOT_READABLE:
                continue  # not ours; workers skip it and log it
            if (place[0], place[1]) > last:
                last = (place[0], place[1])
                yield last, record.value


class EventChecks:
    """Checks partitions one after the other. `recomputed`: None when no tally ever ran."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        report: Report,
        recomputed: RecomputedTotals | None,
        counted: dict[int, SourceOffset],
        definitions: Definitions,
    ) -> None:
        self._connection = connection
        self._report = report
        self._recompute = recomputed
        self._counted = counted
        self._definitions = definitions
        self.compared = 0
        self.pending = 0
        self.unreadable: set[str] = set()

    def _leave_out(self, error: UnreadableRun) -> None:
        """Report a run of which no events can be made, unless its rows are known to be wrong."""
        run_id = error.graph_exec_id
        self._report.unreadable.add(run_id)
        if run_id not in self.unreadable | self._report.runs:
            self._report.add(unreadable(error))
        self.unreadable.add(run_id)

    async def check(
        self, partition: int, topic: Topic, end: int, published: SourceOffset
    ) -> AsyncIterator[int]:
        """Check partition `partition` up to source offset `end`; events above `published` may be
        missing from the topic yet. Yields the number of events checked.
        """
        event_builder = EventBuilder(self._leave_out)
        await topic.open()
        async for rows in read_partition(self._connection, partition, end):
            sound = [row for row in rows if str(row["graph_exec_id"]) not in self._report.broken]
            events = await event_builder.events(self._connection, sound)
            expected = [(_place(event), encode_event(event)) for event in events]
            await self._count(expected, self._counted.get(partition, NOWHERE))
            if topic.begin is not None:
                since = [one for one in expected if one[0] >= topic.begin]
                await self._compare(partition, topic, since, published)
            yield len(rows)
        await self._surplus(partition, await topic.until((end - 1, 2**31)))

    async def _count(self, expected: Iterable[_SourceValue], upto: SourceOffset) -> None:
        if self._recompute is None:
            return
        tally = Tally(self._definitions)
        for place, value in expected:
            if place <= upto:
                tally.count(decode_fact(value))
        await self._recompute.add(tally)

    async def _compare(
        self,
        partition: int,
        topic: Topic,
        expected: Sequence[_SourceValue],
        published: SourceOffset,
    ) -> None:
        if not expected:
            return
        found = dict(await topic.until(expected[-1][0]))
        for place, value in expected:
            is_there = found.pop(place, None)
            if is_there is None:
                self._missing(partition, place, value, published, topic.last)
                continue
            self.compared += 1
            if is_there != value:
                self._differing(partition, place, value, is_there)
        await self._surplus(partition, found.items())

    def _missing(
        self,
        partition: int,
        place: SourceOffset,
        value: bytes,
        published: SourceOffset,
        last: SourceOffset,
    ) -> None:
        if place > published and place > last:
            self.pending += 1
            return
        self._note(partition, place, value, "*", "there", "missing")

    def _differing(self, partition: int, place: SourceOffset, value: bytes, found: bytes) -> None:
        expected, is_now = _fields(value), _fields(found)
        if "truncated" in expected or "truncated" in is_now:
            for name in _PAYLOADS:  # shortened from another spelling
                expected.pop(name, None)
                is_now.pop(name, None)
        for name in sorted(expected.keys() | is_now.keys()):
            here, there = expected.get(name), is_now.get(name)
            if here != there:
                self._note(partition, place, value, name, here, there)

    async def _surplus(self, partition: int, found: Iterable[_SourceValue]) -> None:
        """Events without an entry: those of runs that were erased stay in the topic."""
        fields = [(place, value, _fields(value)) for place, value in found]
        run_ids = {one["graph_exec_id"] for _, _, one in fields if "graph_exec_id" in one}
        if not fields:
            return
        excused = await partly_kept(self._connection, run_ids)
        excused |= self._report.broken | self.unreadable
        users = {one.get("user_id", "") for _, _, one in fields if "seq" not in one}
        gone = await forgotten(self._connection, users)
        for place, value, one in fields:
            is_gone = "seq" not in one and one.get("user_id") in gone
            if not is_gone and one.get("graph_exec_id") not in excused:
                self._note(partition, place, value, "*", "missing", "there")

    def _note(
        self,
        partition: int,
        place: SourceOffset,
        value: bytes,
        name: str,
        expected: Any,
        found: Any,
    ) -> None:
        fields = _fields(value)
        self._report.add(
            Difference(
                kind="event",
                field=name,
                expected=expected,
                found=found,
                mend=REPUBLISH,
                graph_exec_id=fields.get("graph_exec_id"),
                node_exec_id=fields.get("node_exec_id"),
                place={"source": [partition, *place]},
            )
        )


def _place(event: Event) -> SourceOffset:
    return (event.source[1], event.source[2])


def _fields(value: bytes) -> dict[str, Any]:
    fields = exact_json.decode(value)
    return fields if isinstance(fields, dict) else {}
