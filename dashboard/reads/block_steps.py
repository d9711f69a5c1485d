"""The steps behind the figures of a block."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
from pydantic import BaseModel

from execstream.storage.querying import Where
from execstream.storage.reads.read_errors import InvalidCursor
from execstream.storage.schema.tables import STEPS
from execstream.storage.unreadable_rows import Cell, readable, reading
from execstream.streams.statuses import ExecutionStatus

# No index knows blocks; a day's steps are looked through, found by when they were added.
LOOK_BACK = timedelta(days=1)
MOST_ERROR = 2_000  # characters

_PageCursor = tuple[datetime, UUID, UUID]
_decode_cursor = msgspec.json.Decoder(_PageCursor).decode


class BlockStep(BaseModel):
    """A step of a block, without its values; `walltime` in seconds, as its producer reported it;
    of `error` the first MOST_ERROR characters.

    `child_graph_exec_id`: the run that it started, where its stats name one.
    """

    node_exec_id: str
    graph_exec_id: str
    graph_id: str
    graph_version: int
    user_id: str
    status: ExecutionStatus
    added_time: datetime
    started_time: datetime | None
    ended_time: datetime | None
    walltime: float | None
    error: str | None
    child_graph_exec_id: str | None


async def list_block_steps(
    db: asyncpg.Pool,
    block_id: str,
    status: ExecutionStatus | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[BlockStep], str | None]:
    """A page of the block's steps that were added within a day, newest first, and the cursor of
    the next one. Those of deleted runs are hidden."""
    where = Where("not run.is_deleted")
    where.add("step.block_id = {}", block_id)
    where.add("step.added_time > {}", datetime.now(UTC) - LOOK_BACK)
    where.add("step.status = {}", status)
    if cursor is not None:
        added_time, run_id, step_id = _decode(cursor)
        place = f"{where.arg(added_time)}, {where.arg(run_id)}, {{}}"
        where.add(f"(step.added_time, step.graph_exec_id, step.id) < ({place})", step_id)
    rows = await db.fetch(
        f"""select step.id::text as node_exec_id, step.graph_exec_id::text as graph_exec_id,
                run.graph_id, run.graph_version, run.user_id, step.status, step.added_time,
                step.started_time, step.ended_time,
                left(step.stats ->> 'error', {MOST_ERROR}) as error,
                step.stats ->> 'child_graph_exec_id' as child_graph_exec_id,
                case jsonb_typeof(step.stats -> 'walltime')
                    when 'number' then (step.stats ->> 'walltime')::numeric end as walltime
            from node_execution step join graph_execution run on run.id = step.graph_exec_id
            where {where}
            order by step.added_time desc, step.graph_exec_id desc, step.id desc
            limit {where.arg(limit + 1)}""",
        *where.args,
    )
    next_cursor = _encode(rows[limit - 1]) if len(rows) > limit else None
    return readable(rows[:limit], _step), next_cursor


def _step(row: asyncpg.Record) -> BlockStep:
    with reading(row["graph_exec_id"], Cell(STEPS.name, f"step {row['node_exec_id']}")):
        return BlockStep(**row)


def _decode(cursor: str) -> _PageCursor:
    try:
        place: _PageCursor = _decode_cursor(urlsafe_b64decode(cursor))
    except ValueError as error:
        raise InvalidCursor(cursor) from error
    return place


def _encode(last: asyncpg.Record) -> str:
    place = (last["added_time"], last["graph_exec_id"], last["node_exec_id"])
    return urlsafe_b64encode(msgspec.json.encode(place)).decode()
