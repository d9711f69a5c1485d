"""The stored steps of an installation, counted one by one; and the servers asked for figures about
them.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import httpx
from aiokafka import TopicPartition

from execstream.streams.statuses import ENDED, cascade_error
from execstream.streams.topics import COMMANDS
from tests.whole.program import Program
from tests.worker import Installation

Json = Any
Told = tuple[Json, Json]  # the figure, and the count of the rows

SINCE = timedelta(hours=24)
CASCADES = {cascade_error(status) for status in ENDED}
CALLER = "invalid url"  # an error of class `input`

_STEPS = """
select block_id, node_id, status, graph_exec_id::text as run, added_time, started_time, ended_time,
       coalesce(stats ->> 'error', '') as error, stats ? 'child_graph_exec_id' as of_child,
       coalesce((stats ->> 'cost')::bigint, 0) as cost,
       coalesce((stats ->> 'input_token_count')::bigint, 0) as tokens
  from node_execution
"""


class Counts(NamedTuple):
    """Steps by their end."""

    added: int
    ended: int
    failed: int
    terminated: int
    cascaded: int
    caller_failed: int
    skewed: int


class Step(NamedTuple):
    """A stored step, and the cause of its end."""

    row: asyncpg.Record

    @property
    def is_over(self) -> bool:
        return self.row["status"] in ("COMPLETED", "FAILED")

    @property
    def is_skewed(self) -> bool:
        return self.is_over and self.row["ended_time"] > datetime.now(UTC) + timedelta(hours=1)

    @property
    def is_cascaded(self) -> bool:
        return self.is_over and not self.is_skewed and self.row["error"] in CASCADES

    @property
    def has_ended(self) -> bool:
        return self.is_over and not self.is_skewed and not self.is_cascaded

    @property
    def has_failed(self) -> bool:
        return self.has_ended and self.row["status"] == "FAILED" and not self.row["of_child"]

    @property
    def minute(self) -> datetime:
        ended: datetime = self.row["ended_time"]
        return ended.replace(second=0, microsecond=0)


def counted(steps: list[Step]) -> Counts:
    failed = [step for step in steps if step.has_failed]
    return Counts(
        added=len(steps),
        ended=sum(step.has_ended for step in steps),
        failed=len(failed),
        terminated=0,
        cascaded=sum(step.is_cascaded for step in steps),
        caller_failed=sum(step.row["error"] == CALLER for step in failed),
        skewed=sum(step.is_skewed for step in steps),
    )


@dataclass
class Witness:
    """One installation: the servers asked, and the rows. `reads`: the arguments of the package's
    reads.
    """

    place: Installation
    reads: asyncpg.Pool
    http: httpx.AsyncClient
    program: Program

    async def steps(self) -> dict[str, list[Step]]:
        """Counts by block."""
        blocks: dict[str, list[Step]] = defaultdict(list)
        for row in await self.place.db.fetch(_STEPS):
            blocks[row["block_id"]].append(Step(row))
        return dict(blocks)

    async def get(self, path: str, **asked: Json) -> Json:
        answer = await self.http.get(path, params=asked)
        answer.raise_for_status()
        return answer.json()

    async def listed(self, path: str, **asked: Json) -> list[Json]:
        data: list[Json] = (await self.get(path, **asked))["data"]
        return data

    async def ends(self) -> dict[int, int]:
        """The ends of the commands topic, by partition."""
        consumer = self.place.reader
        topic = self.place.topic(COMMANDS.name)
        wanted = [TopicPartition(topic, number) for number in range(COMMANDS.partitions)]
        return {at.partition: end for at, end in (await consumer.end_offsets(wanted)).items()}
