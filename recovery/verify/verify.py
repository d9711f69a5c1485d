"""A verification from end to end: one snapshot of Postgres, and topics up to where they are.

Some runs are checked against their journals; all of them also against the topics, and with them
key-values and totals.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer

from execstream.config.settings import Settings
from execstream.kafka.reader import Extent, consumer, extent
from execstream.recovery.offsets.offset_rows import Stored, stored_positions
from execstream.recovery.offsets.offsets import placed, stored_in_redis
from execstream.recovery.verify import block_stats
from execstream.recovery.verify.command_checks import CommandChecks
from execstream.recovery.verify.event_checks import EventChecks, Topic
from execstream.recovery.verify.mend import mend
from execstream.recovery.verify.offset_checks import check_positions
from execstream.recovery.verify.recomputed_totals import (
    RecomputedTotals,
    Unknown,
    counted,
    merged,
    trimmed_days,
)
from execstream.recovery.verify.report import MEND_ALL, REBUILD, Difference, Report
from execstream.recovery.verify.row_comparison import (
    count_runs,
    differing_key_values,
    key_values_count,
    some_runs,
)
from execstream.recovery.verify.run_checks import RunChecks
from execstream.storage.commit.definitions import load_definitions
from execstream.storage.connections import snapshot
from execstream.storage.querying import parse_id
from execstream.storage.redis.positions import open_redis
from execstream.storage.schema.tables import JOURNAL, KEY_VALUES, RUNS, STEPS
from execstream.streams.errors import Fatal
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.streams.totals.definitions import definition


class NoSuchRun(Fatal):
    """A named run has neither a row nor a journal."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The runs to check: those of `ids`, or `runs` of them chosen by chance, or (None) all."""

    ids: Sequence[str] = ()
    runs: int | None = None


async def verify(
    settings: Settings, asked: Asked, report_progress: ProgressCallback, *, repairing: bool = False
) -> Report:
    """Check the runs `asked` for; with `repairing`, rewrite wrong rows from the journal where
    possible.
    """
    report = Report()
    async with (
        consumer(settings.kafka) as reader,
        snapshot(settings.postgres, settings.schema_) as connection,
    ):
        checks = _Checks(settings, connection, reader, report, report_progress)
        if asked.ids:
            await checks.named(asked.ids)
        elif asked.runs is not None:
            await checks.some(asked.runs)
        else:
            await checks.all()
    _distrust_broken(report)
    if report.unreadable:
        report.left_out.append(
            f"{len(report.unreadable):,} runs, of which a stored row cannot be read: their other "
            "rows and their events"
        )
    if repairing:
        await mend(settings, report, report_progress)
    return report


def _distrust_broken(report: Report) -> None:
    """Rows of a wrong journal may be right: nothing is mended from it, except for the journal's own
    entries that the topic has.
    """
    mendable = report.mendable_runs
    report.differences = [
        msgspec.structs.replace(one, mend=_mend_of(one, report, mendable))
        for one in report.differences
    ]


def _mend_of(one: Difference, report: Report, mendable: Collection[str]) -> str:
    if one.kind == KEY_VALUES.name and one.place["user_id"] in report.broken_users:
        return REBUILD
    if one.kind not in (RUNS.name, STEPS.name, JOURNAL.name):
        return one.mend
    if one.graph_exec_id in mendable:
        return MEND_ALL
    is_distrusted = one.kind == JOURNAL.name or one.graph_exec_id in report.broken
    return REBUILD if is_distrusted else one.mend


class _Checks:
    def __init__(
        self,
        settings: Settings,
        connection: asyncpg.Connection,
        reader: AIOKafkaConsumer,
        report: Report,
        report_progress: ProgressCallback,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._reader = reader
        self._report = report
        self._report_progress = report_progress
        self._runs = RunChecks(connection, report, report_progress)
        self._commands, self._events = (
            settings.topic_prefix + topic.name for topic in (COMMANDS, EVENTS)
        )

    async def named(self, run_ids: Sequence[str]) -> None:
        wanted = {parse_id(one) for one in run_ids}
        await self._runs.check_some([str(one) for one in wanted if one is not None])
        await self._note_runs()
        if self._runs.runs < len(wanted):
            raise NoSuchRun(
                "Not all of these runs are there: `execstream list` shows those that are."
            )

    async def some(self, number: int) -> None:
        await self._runs.check_some(await some_runs(self._connection, number))
        await self._note_runs()
        await self._positions()

    async def all(self) -> None:
        await self._runs.check_all(await count_runs(self._connection))
        await self._note_runs()
        self._report.key_values = await differing_key_values(self._connection)
        self._report.add_rows(self._report.key_values, MEND_ALL)
        self._report.checked["key_values"] = await key_values_count(self._connection)
        places = [one for one in await self._positions() if one.topic == self._commands]
        await self._check_commands(places)
        await self._check_events(places)
        await self._check_block_stats()

    async def _note_runs(self) -> None:
        self._report.checked |= {
            "runs": self._runs.runs,
            "of_runs": await count_runs(self._connection),
            "entries": self._runs.entries,
        }

    async def _positions(self) -> list[Stored]:
        """Check positions; those that Postgres has."""
        stored = await stored_positions(self._connection)
        report_progress = list(stored)
        if self._settings.redis_url is not None:
            redis = open_redis(self._settings.redis)
            try:
                report_progress += await stored_in_redis(
                    redis, self._settings.redis_prefix, self._events
                )
            finally:
                await redis.aclose()
        check_positions(await placed(self._reader, report_progress), self._report)
        return stored

    async def _check_commands(self, places: Sequence[Stored]) -> None:
        """Check as far back as the topic reaches, up to the position of the workers."""
        held = await extent(self._reader, self._commands)
        limit = self._settings.max_command_bytes
        checks = CommandChecks(
            *(self._connection, self._report, self._settings.schema_, self._commands, limit)
        )
        spans = {one.partition: _span(one, held) for one in places}
        total, done = sum(end - begin for begin, end in spans.values()), 0
        for one in places:
            begin, end = spans[one.partition]
            async for number in checks.check(self._reader, one.partition, begin, end, one.base):
                done += number
                self._report_progress("Commands", done, total)
        self._report.checked["commands"] = {
            "compared": checks.compared,
            "offsets": {str(partition): list(span) for partition, span in spans.items()},
        }
        self._report.left_out += checks.kept.in_words()
        if checks.forgotten:
            self._report.left_out.append(f"{checks.forgotten} rows of users erased by `forget`")
        if checks.skipped:
            self._report.left_out.append(
                f"{checks.skipped} commands whose run or user history is incomplete"
            )

    async def _check_events(self, places: Sequence[Stored]) -> None:
        upto = await counted(self._connection, self._events)
        recomputed = None
        if upto:
            recomputed = RecomputedTotals(self._connection, self._settings.schema_, self._events)
            await recomputed.begin()
        else:
            self._report.left_out.append("the totals: no tally ever ran")
        held = await extent(self._reader, self._events)
        latest = definition(rules=self._settings.class_rules)
        definitions = await load_definitions(self._connection, latest)
        checks = EventChecks(self._connection, self._report, recomputed, upto, definitions)
        total, done = sum(one.next_offset for one in places), 0
        begins: dict[str, list[int] | None] = {}
        for one in places:
            topic = Topic(self._reader, self._events, one.partition, held)
            end = one.next_offset + one.base
            published = (one.published_offset, one.published_index)
            async for number in checks.check(one.partition, topic, end, published):
                done += number
                self._report_progress("Events", done, max(total, done))
            begins[str(one.partition)] = None if topic.begin is None else list(topic.begin)
        self._report.checked["events"] = {
            "compared": checks.compared,
            "not_published_yet": checks.pending,
            "first_sources": begins,
        }
        if recomputed is not None:
            await self._check_totals(recomputed, list(upto), is_partial=bool(checks.unreadable))

    async def _check_totals(
        self, recomputed: RecomputedTotals, partitions: Sequence[int], *, is_partial: bool
    ) -> None:
        unknown = merged(
            [Unknown(*span) for span in self._runs.erased] + await trimmed_days(self._connection)
        )
        if self._report.broken or is_partial:
            self._report.left_out.append("the totals: journals differ, mend those first")
            return
        self._report.left_out += [
            f"totals of partition {one.partition} from {one.first} to {one.last}: runs were erased "
            "or trimmed"
            for one in unknown
        ]
        self._report.totals = await recomputed.differing(partitions, unknown)
        await recomputed.end()
        self._report.add_rows(self._report.totals, MEND_ALL)
        self._report.checked["totals"] = {"partitions": len(partitions)}

    async def _check_block_stats(self) -> None:
        if self._report.broken or self._report.totals:
            self._report.left_out.append("the live totals: stored ones differ, mend those first")
            return
        try:
            compared = await block_stats.compare(self._settings, self._connection, self._reader)
        except KeyError as error:  # minutes or days without a total
            place = {"key": error.args[0]}
            self._report.add(
                Difference("block_total", "*", "there", "missing", MEND_ALL, place=place)
            )
            return
        for one in compared.wrong:
            block_stats.note(one, self._report)
        self._report.checked["block_stats"] = {
            "compared": compared.same,
            "moved_meanwhile": compared.moved,
        }


def _span(one: Stored, held: Extent) -> tuple[int, int]:
    """Kafka's offsets that can be read and were applied."""
    end = min(one.next_offset, held.end.get(one.partition, 0))
    return min(held.first.get(one.partition, 0), end), end
