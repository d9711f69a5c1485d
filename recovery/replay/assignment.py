"""The part of a rebuild that one process does: partitions up to their ends, and its connections.

Claiming the partitions fences off any other process that rebuilds them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from faust.types import TP

from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.partition_buffer import AssignedPartition
from execstream.config.settings import Settings
from execstream.recovery.replay.copy_loader import write
from execstream.recovery.replay.shadow_schema import APPLY
from execstream.recovery.replay.throttle import Cores, Throttle
from execstream.recovery.replay.unreadable_runs import leave_out_runs, runs_left_out
from execstream.storage.commit.consumer_offsets import OffsetCommit, claim
from execstream.storage.commit.definitions import load_definitions
from execstream.storage.commit.write_set import WriteSet
from execstream.storage.connections import Session
from execstream.storage.schema.day_partitions import Days, own_days
from execstream.storage.unreadable_rows import UnreadableRun, note
from execstream.streams.errors import Fatal
from execstream.streams.totals.aggregation import Tally
from execstream.streams.totals.definitions import Definitions, definition


class TakenOver(Fatal):
    """Another replay writes into the same schema."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions that a process reads, and the schema that it writes. `copies_lost`: commands
    about runs whose journal is lost are not folded. `ends`: by partition, Kafka's offset to end
    before. `archive`: the folder with the records before those of the topic. `parent`: the process
    to end with.
    """

    source: str
    copies_lost: bool
    settings: Settings
    topic: str
    schema: str
    ends: Mapping[int, int]
    archive: Path | None
    cache_bytes: int
    batch_records: int
    parent: int

    @property
    def live(self) -> str:
        return self.settings.schema_

    @property
    def is_orphaned(self) -> bool:
        return self.parent not in (os.getpid(), os.getppid())


class Writer:
    """The state of a process between batches: states of runs, a connection, and its partitions."""

    def __init__(self, assignment: Assignment, session: Session) -> None:
        self.assignment = assignment
        self.session = session
        self.parts: list[AssignedPartition] = []
        self.cache = RunCache(assignment.cache_bytes)
        self.throttle = Throttle(assignment.settings, assignment.schema, assignment.topic, Cores())
        self.definitions = Definitions()
        self.number = 0
        self.unreadable: set[str] = set()  # runs of which nothing is rebuilt
        self._days: Days | None = None

    def limit(self) -> int:
        """Most records in the next batch."""
        return self.throttle.limit(self.assignment.batch_records)

    async def leave_out(self, errors: Mapping[str, UnreadableRun]) -> None:
        """Rebuild nothing of runs that cannot be read."""
        for error in errors.values():
            note(error)
        self.unreadable |= errors.keys()
        await leave_out_runs(await self.session.get(), errors)
        self.cache.clear()  # other states have evolved by a batch that was not written

    async def claim(self) -> None:
        """Take the share's partitions over, to be counted as the live schema counts."""
        connection = await self.session.get()
        rows = await claim(
            connection, APPLY, self.assignment.topic, dict.fromkeys(self.assignment.ends, 0)
        )
        self.parts = [
            AssignedPartition(
                tp=TP(self.assignment.topic, row["partition"]),
                epoch=row["epoch"],
                base=row["base"],
                published=(row["published_offset"], row["published_index"]),
                next=row["next_offset"],
                done=row["next_offset"],
            )
            for row in rows
        ]
        self.unreadable = {str(one) for one in await runs_left_out(connection)}
        latest = definition(rules=self.assignment.settings.class_rules)
        self.definitions = await load_definitions(connection, latest, self.assignment.live)

    async def write(
        self, offset_commits: Sequence[OffsetCommit], write_set: WriteSet, tally: Tally
    ) -> None:
        """Write a batch."""
        connection = await self.session.get()
        # Commits that a crash of Postgres loses are repeated: the offset is in the same
        # transaction.
        await connection.execute("set synchronous_commit = off")
        if self._days is None:
            self._days = Days(await own_days(connection, self.assignment.live))
        await self._days.ensure(connection, write_set.begun)
        await write(connection, self.assignment.topic, offset_commits, write_set, tally)
        self.cache.trim(self.number)
