"""A rebuild as a whole: plan it or take it up again, run its processes, finish.

Its progress is stored in the rebuilt schema and read there, so another process continues after a
kill.
"""

import asyncio
import os
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from typing import ClassVar

import asyncpg

from execstream.config.process_lifetime import begin_in_pool
from execstream.config.settings import Settings
from execstream.config.tasks import end
from execstream.recovery.archive.folder import Archive
from execstream.recovery.archive.present_topic import join
from execstream.recovery.replay.assignment import Assignment
from execstream.recovery.replay.bounds import (
    Asked,
    Topic,
    check_live_bases,
    check_live_end,
    describe,
    offsets_at,
    plan,
)
from execstream.recovery.replay.erased_users import delete_forgotten
from execstream.recovery.replay.kept_judgements import KEPT, settle_kept
from execstream.recovery.replay.live_schema import (
    LivePosition,
    live_places,
    reach,
    take_over_counts,
    take_over_rest,
)
from execstream.recovery.replay.replay_process import replay, replay_in_process
from execstream.recovery.replay.shadow_schema import (
    JOURNAL,
    TOPICS,
    NotThatRebuild,
    Plan,
    begin,
    make_indexes,
    places,
    stored_plan,
)
from execstream.recovery.replay.truncated_runs import take_over_trimmed
from execstream.recovery.replay.unreadable_runs import UNREADABLE
from execstream.recovery.stored_judgements import KeptJudgements
from execstream.storage.connections import quoted
from execstream.streams.errors import Transient
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS

PROCESSES = 2
POLL = 0.5  # seconds
CACHE_BYTES = 32 * 1024 * 1024  # of states, in each process

_DOING = {JOURNAL: "Reading the journal", TOPICS: "Replaying commands"}


class Interrupted(Transient):
    """A replay ended before its end."""


@dataclass
class Rebuild:
    """A schema that is being rebuilt beside `settings.schema_`; `has_live`: there is something in
    that."""

    settings: Settings
    schema: str
    connection: asyncpg.Connection
    topic: Topic
    plan: Plan
    asked: Asked
    has_live: bool
    replayed: int = 0  # commands, by this process and those it started
    seconds: float = 0.0  # that took
    forgotten: int = 0  # people whose rows were deleted again
    kept: KeptJudgements = field(default_factory=KeptJudgements)
    batch_records: ClassVar[int] = 8_000  # in one transaction
    worth_processes: ClassVar[int] = 20_000  # commands; fewer are replayed in this process

    @classmethod
    async def prepare(
        cls, settings: Settings, schema: str, asked: Asked, connection: asyncpg.Connection
    ) -> "Rebuild":
        """Plan the rebuild asked for, or continue one that was begun before.

        Raises NotThatRebuild, or OutOfReach.
        """
        if schema == settings.schema_:
            raise NotThatRebuild(f"{schema} is the live schema: name another one to rebuild into.")
        name = settings.topic_prefix + COMMANDS.name
        live = await live_places(connection, settings.schema_, name)
        topic = await describe(settings.kafka, name)
        if asked.source == TOPICS:
            check_live_end(topic, live)
        begins = await offsets_at(settings.kafka, topic, asked.begin)
        bases: dict[int, int] = {}
        if asked.archive is not None:
            topic, bases = await _joined(settings.kafka, topic, asked)
            check_live_bases(live, bases)
            begins = {partition: -base for partition, base in bases.items()} | begins
        ends = await offsets_at(settings.kafka, topic, asked.end)
        chosen = await stored_plan(connection, schema, name)
        if chosen is None:
            journal = await reach(connection, settings.schema_)
            chosen = plan(asked.source, begins, ends, topic, live, journal, bases)
            await begin(settings.postgres, connection, schema, name, chosen, has_journal=bool(live))
        elif not chosen.is_of(asked.source, begins, ends):
            raise NotThatRebuild(
                f"{schema} is being rebuilt from --source {chosen.source} between other offsets or "
                "times: repeat the command to go on, or drop it "
                f"(`drop schema {quoted(schema)} cascade`)."
            )
        await connection.execute(f"{KEPT}; {UNREADABLE}")
        return cls(settings, schema, connection, topic, chosen, asked, bool(live))

    @property
    def needs_journal(self) -> bool:
        """Return whether a part comes from the journal of the live schema."""
        return self.has_live and self.plan.needs_journal

    def left_out(self) -> list[str]:
        """The parts that the rebuild lacks, in words."""
        notes = self.kept.in_words()
        if self.forgotten:
            notes.append(f"rows about {self.forgotten:,} people whom the live schema has forgotten")
        begun = [f"{span.partition}:{span.begin}" for span in self.plan.spans if span.first_source]
        if begun and not self.has_live:
            notes.append(
                f"commands before {','.join(begun)}, of which nothing is left: those after them "
                "about runs that had begun before are refused"
            )
        return notes

    async def targets(self) -> dict[int, int]:
        """The ends of the offsets left to replay now, by partition."""
        live = await live_places(self.connection, self.settings.schema_, self.topic.name)
        return {
            span.partition: self._target(span.partition, live) if span.end is None else span.end
            for span in self.plan.spans
        }

    def _target(self, partition: int, live: Mapping[int, LivePosition]) -> int:
        """Up to the position of the live schema; without one, to the end of the topic."""
        if live:
            return live[partition].next_offset if partition in live else 0
        return self.topic.end[partition]

    async def run(self, report_progress: ProgressCallback) -> None:
        """Rebuild up to the current targets, in processes of its own."""
        targets = await self.targets()
        if self.needs_journal:
            begins = {span.partition: span.begin for span in self.plan.spans if span.first_source}
            if self.plan.source == JOURNAL:
                begins = targets
            await self._run_processes(JOURNAL, begins, report_progress)
            await self._take_over(begins)
        if self.plan.source == TOPICS:
            await self._run_processes(TOPICS, targets, report_progress)
        await make_indexes(self.connection, report_progress)
        await self._settle()

    async def catch_up(self, targets: Mapping[int, int]) -> None:
        """Go on to `targets` in this process: they are near."""
        await replay(self._assign(self.plan.source, targets))
        if self.plan.source == JOURNAL:
            await self._take_over(targets)
        await self._settle()

    async def _settle(self) -> None:
        """Settle facts that only the live schema has: forgotten users, and trimmed runs."""
        if not self.has_live:
            return
        live, topic = self.settings.schema_, self.topic.name
        if self.needs_journal:
            await take_over_trimmed(self.connection, live, topic)
            await take_over_counts(self.connection, live, topic)
        self.kept = await settle_kept(self.connection, live)
        self.forgotten += await delete_forgotten(self.connection, live, topic)

    async def _take_over(self, ends: Mapping[int, int]) -> None:
        bases = {span.partition: span.base for span in self.plan.spans}
        live = self.settings.schema_
        await take_over_rest(self.connection, live, self.topic.name, ends, bases)

    def _assign(self, source: str, ends: Mapping[int, int]) -> Assignment:
        return Assignment(
            source=source,
            copies_lost=source == TOPICS and self.needs_journal,
            settings=self.settings,
            topic=self.topic.name,
            schema=self.schema,
            ends=dict(ends),
            archive=self.asked.archive,
            cache_bytes=CACHE_BYTES,
            batch_records=self.batch_records,
            parent=os.getpid(),
        )

    async def _run_processes(
        self, source: str, ends: Mapping[int, int], report_progress: ProgressCallback
    ) -> None:
        at = await places(self.connection, self.topic.name)
        left = {p: end for p, end in ends.items() if at[p] < end}
        if not left:
            return
        begun = time.perf_counter()
        if sum(end - at[p] for p, end in left.items()) < self.worth_processes:
            here = asyncio.create_task(replay(self._assign(source, left)))
            try:
                await self._watch(source, [here], left, report_progress)
            finally:
                await end(here)
        else:
            await self._in_processes(source, left, report_progress)
        self.seconds += time.perf_counter() - begun
        self.replayed += sum(end - at[p] for p, end in left.items())

    async def _in_processes(
        self, source: str, left: Mapping[int, int], report_progress: ProgressCallback
    ) -> None:
        assignments = [
            self._assign(source, {p: end for p, end in left.items() if p % PROCESSES == number})
            for number in range(PROCESSES)
        ]
        loop = asyncio.get_running_loop()
        context = get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, context, begin_in_pool, (os.getpid(),)) as pool:
            running = [
                loop.run_in_executor(pool, replay_in_process, assignment)
                for assignment in assignments
                if assignment.ends
            ]
            try:
                await self._watch(source, running, left, report_progress)
            except BrokenProcessPool as error:
                raise Interrupted(
                    f"A process of the replay was killed: its rows are in {self.schema}, and "
                    "the same command goes on from there."
                ) from error
            except BaseException:
                for process in active_children():
                    process.kill()
                await asyncio.gather(*running, return_exceptions=True)
                raise

    async def _watch(
        self,
        source: str,
        running: Collection[asyncio.Future[None]],
        ends: Mapping[int, int],
        report_progress: ProgressCallback,
    ) -> None:
        pending = set(running)
        first = await places(self.connection, self.topic.name)
        total = sum(end - first[p] for p, end in ends.items())
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=POLL, return_when=asyncio.FIRST_EXCEPTION
            )
            for one in done:
                one.result()
            now = await places(self.connection, self.topic.name)
            report_progress(_DOING[source], sum(now[p] - first[p] for p in ends), total)


async def _joined(bootstrap: str, topic: Topic, asked: Asked) -> tuple[Topic, dict[int, int]]:
    """The topic with the records of the archive before it, and its bases."""
    assert asked.archive is not None  # noqa: S101
    joined = await join(
        Archive(asked.archive),
        *(bootstrap, topic.name, topic.first, topic.end),
        topics_lost=asked.topics_lost,
    )
    return topic._replace(first=joined.first), joined.bases
