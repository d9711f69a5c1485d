"""Errors that read the same, over all owners: their beginning, number and users."""

from datetime import UTC, datetime, timedelta

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from execstream.dashboard.reads.kept_answers import Kept

WINDOW = timedelta(hours=1)
LOOK_BACK = timedelta(hours=24)
MOST = 10

KEPT_FOR = 2.0  # seconds an answer is good for


class ErrorFamily(BaseModel):
    """Failures of a block within 24 hours, by whole hours, that read the same, and the last step
    that failed so. `is_new`: none was known before the last hour.

    `runs`, `users`: those with such a failure. `text` is null where a block had too many texts.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    block_id: str
    fingerprint: str
    error_class: str = Field(alias="class")
    text: str | None
    failures: int
    runs: int
    users: int
    user_id: str
    first_at: datetime
    last_at: datetime
    is_new: bool
    graph_exec_id: str
    node_exec_id: str


_FAMILIES = """
select e.block_id, e.fingerprint, e.class as error_class, sum(e.failures)::bigint as failures,
       count(distinct e.graph_exec_id) as runs, count(distinct run.user_id) as users,
       (array_agg(run.user_id order by e.last_at desc))[1] as user_id,
       min(e.last_at) as first_at, max(e.last_at) as last_at, min(e.last_at) >= $2 as is_new,
       (array_agg(e.graph_exec_id order by e.last_at desc))[1]::text as graph_exec_id,
       (array_agg(e.node_exec_id order by e.last_at desc))[1]::text as node_exec_id,
       (select masked from block_error text
         where text.block_id = e.block_id and text.hour >= $1
           and text.fingerprint = e.fingerprint limit 1) as text
  from run_error e join graph_execution run on run.id = e.graph_exec_id and not run.is_deleted
 where e.hour >= $1 and e.class <> 'child' and e.fingerprint <> 'other'
 group by e.block_id, e.fingerprint, e.class
having max(e.last_at) >= $2
 order by is_new desc, failures desc, last_at desc limit $3
"""


class ErrorFamilies:
    """Reads of one server."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._newest = Kept(KEPT_FOR, self._read)

    async def newest(self) -> list[ErrorFamily]:
        """Those of the last hour: new ones first, of these the most frequent first."""
        return await self._newest.get()

    async def _read(self) -> list[ErrorFamily]:
        now = datetime.now(UTC)
        first_hour = (now - LOOK_BACK).replace(minute=0, second=0, microsecond=0)
        rows = await self._db.fetch(_FAMILIES, first_hour, now - WINDOW, MOST)
        return [ErrorFamily(**row) for row in rows]
