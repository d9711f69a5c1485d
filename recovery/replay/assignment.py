"""One process's share of a rebuild: some partitions up to their ends, and what it writes with.

Claiming the partitions fences off whoever else rebuilds them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faust.types import TP

from execstream.agents.apply.state_cache import RunCache
from execstream.agents.runtime.partition_buffer import Owned
from execstream.kafka.security import Security
from execstream.recovery.replay.copy_loader import write
from execstream.recovery.replay.shadow_schema import APPLY
from execstream.recovery.replay.throttle import Cores, Turns
from execstream.storage.commit.consumer_offsets import Move, claim
from execstream.storage.commit.write_set import Effects
from execstream.storage.lines import Line
from execstream.storage.schema.day_partitions import Days
from execstream.streams.errors import Fatal
from execstream.streams.totals.aggregation import Tally


class TakenOver(Fatal):
    """Another replay writes into the same schema."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a process has to read, and where it writes. `copies_lost`: commands about runs whose
    journal is lost are not folded. `ends`: by partition, Kafka's offset to end before. `parent`:
    the process to end with."""

    source: str
    copies_lost: bool
    kafka_bootstrap: str
    kafka_security: Security
    postgres_dsn: str
    topic: str
    live: str
    schema: str
    ends: Mapping[int, int]
    max_command_bytes: int
    cache_bytes: int
    batch_records: int
    parent: int

    @property
    def is_orphaned(self) -> bool:
        return self.parent not in (os.getpid(), os.getppid())


class Writer:
    """What a process keeps between batches: states, a connection, and what it owns."""

    def __init__(self, share: Share, line: Line) -> None:
        self.share = share
        self.line = line
        self.parts: list[Owned] = []
        self.cache = RunCache(share.cache_bytes)
        self.turns = Turns(share.postgres_dsn, share.schema, share.live, share.topic, Cores())
        self.number = 0
        self._days = Days()

    def limit(self) -> int:
        """Most records in the next batch."""
        return self.turns.limit(self.share.batch_records)

    async def claim(self) -> None:
        """Take the share's partitions over."""
        connection = await self.line.get()
        rows = await claim(connection, APPLY, self.share.topic, dict.fromkeys(self.share.ends, 0))
        self.parts = [
            Owned(
                tp=TP(self.share.topic, row["partition"]),
                epoch=row["epoch"],
                base=row["base"],
                published=(row["published_offset"], row["published_index"]),
                next=row["next_offset"],
                done=row["next_offset"],
            )
            for row in rows
        ]

    async def write(self, moves: Sequence[Move], effects: Effects, tally: Tally) -> None:
        """Write a batch."""
        connection = await self.line.get()
        # What a crash of Postgres forgets is read again: the offset is in the same transaction.
        await connection.execute("set synchronous_commit = off")
        await self._days.ensure(connection, effects.begun)
        await write(connection, self.share.topic, moves, effects, tally)
        self.cache.trim(self.number)
