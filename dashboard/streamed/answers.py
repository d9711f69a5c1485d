"""Streamed answers: the rows each of them needs, in one snapshot of a connection."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from execstream.dashboard.streamed.run_parts import Interface, Row, RunRows, parts_of_run
from execstream.dashboard.streamed.steps import StepReader, StepsOfRun, parts_of_step
from execstream.dashboard.streamed.values import Limit, documents, joined
from execstream.storage.models.blocks import BlockType
from execstream.storage.models.shared import SharedExecutionResponse
from execstream.storage.querying import snapshot
from execstream.storage.reads import as_of, cursors
from execstream.storage.reads.as_of import Past
from execstream.storage.reads.run_detail import GET_RUN, GET_SHARED_RUN
from execstream.storage.reads.share_tokens import hash_share_token
from execstream.storage.reads.steps import STEP_COLUMNS, STEP_ORDER
from execstream.storage.unreadable_rows import UnreadableRun, note, reading
from execstream.streams import exact_json

Parts = AsyncIterator[bytes]
WHOLE = Limit()

_FIELDS = """step.id, step.graph_exec_id, step.run_day, step.added_seq, step.user_id, step.graph_id,
    step.graph_version, step.node_id, step.block_id, step.status, step.added_time,
    step.queued_time, step.started_time, step.ended_time, step.block_type"""
_ROWS = """
select {fields}, {documents}
  from unnest({ids}::uuid[]) with ordinality as wanted(id, place)
  join ({steps}) step on step.id = wanted.id
 order by wanted.place
"""
_LIVE = f"""
select {STEP_COLUMNS}, block.block_type from node_execution step
  join graph_execution run on run.id = step.graph_exec_id
  left join block on block.id = step.block_id
 where step.graph_exec_id = $1 and step.run_day = $2
"""
_LIVE_IDS = f"""
select step.id, step.added_seq from node_execution step
 where step.graph_exec_id = $1 and step.run_day = $2 {STEP_ORDER}
"""
_OUTPUT_IDS = f"""
select step.id, step.added_seq from node_execution step
  join block on block.id = step.block_id and block.block_type = '{BlockType.OUTPUT}'
 where step.graph_exec_id = $1 and step.run_day = $2 {STEP_ORDER}
"""
_LIVE_DOCUMENT = """
select {0} from node_execution
 where graph_exec_id = $1 and run_day = $2 and id = $3 and $4::bigint is not null
"""
_PAST_IDS = f"select id, added_seq from ({as_of.STEPS} {STEP_ORDER}) step"
_PAST_DOCUMENT = """
select detail -> '{0}' from journal
 where graph_exec_id = $1 and run_day = $2 and node_exec_id = $3 and seq <= $4
   and type in ('node.added', 'node.updated') and detail ? '{0}' order by seq desc limit 1
"""


def live_steps(
    run_id: UUID, run_day: date, page: Sequence[asyncpg.Record], *, with_values: bool = True
) -> StepsOfRun:
    """Return the steps of `page` (their `id` and `added_seq`) now."""
    ids, begin = _ids(page)
    rows = _rows(_LIVE, "$3", with_values=with_values)
    args = (run_id, run_day, ids)
    return StepsOfRun(
        run_id, run_day, ids, rows, args, _LIVE_DOCUMENT, begin, with_values=with_values
    )


def past_steps(
    past: Past, page: Sequence[asyncpg.Record], *, with_values: bool = True
) -> StepsOfRun:
    """Return the steps of `page` (their `id` and `added_seq`) as of a moment."""
    ids, begin = _ids(page)
    rows = _rows(as_of.STEPS, "$6", with_values=with_values)
    args = (*past, begin, ids)
    return StepsOfRun(
        past.id, past.run_day, ids, rows, args, _PAST_DOCUMENT, begin, past.seq, with_values
    )


def _ids(page: Sequence[asyncpg.Record]) -> tuple[list[UUID], int]:
    return [row["id"] for row in page], min((row["added_seq"] for row in page), default=1)


def _rows(steps: str, ids: str, *, with_values: bool) -> str:
    columns = documents("execution_data", "stats")
    if not with_values:
        columns = f"null as execution_data, false as has_execution_data, {documents('stats')}"
    return _ROWS.format(fields=_FIELDS, documents=columns, ids=ids, steps=steps)


async def in_snapshot(
    pool: asyncpg.Pool, parts: Callable[[asyncpg.Connection], Parts]
) -> AsyncGenerator[bytes]:
    """Yield the parts of an answer, joined; a small one after its connection is given back."""

    async def read() -> Parts:
        async with snapshot(pool) as connection:
            async for part in parts(connection):
                yield part

    async for part in joined(read()):
        yield part


async def run(
    connection: asyncpg.Connection,
    run_id: UUID,
    user_id: str,
    past: Past | None,
    limit: Limit = WHOLE,
) -> Parts | None:
    """Return the JSON of a run with its steps, now or as of a moment; None when there is none.

    Raises PastIsGone.
    """
    if past is None:
        runs = RunRows(connection, GET_RUN, run_id, user_id)
    else:
        runs = RunRows(connection, as_of.RUN, run_id, past.seq)
    row = await runs.first()
    if row is None:
        return None
    if row["status"] is None:
        raise as_of.without_past(str(run_id), row["trimmed_at"])
    if past is None:
        day = row["created_at"].astimezone(UTC).date()
        steps = live_steps(run_id, day, await connection.fetch(_LIVE_IDS, run_id, day))
    else:
        steps = past_steps(past, await connection.fetch(_PAST_IDS, *past, 1, None))
    return _reading(run_id, parts_of_run(connection, runs, row, steps, limit))


async def _reading(run_id: UUID, parts: Parts) -> Parts:
    """Yield `parts`, which are of one run. Raises UnreadableRun, which cuts an answer that has
    begun."""
    try:
        with reading(run_id):
            async for part in parts:
                yield part
    except UnreadableRun as error:
        note(error)
        raise


async def shared(connection: asyncpg.Connection, share_token: str) -> Parts | None:
    """Return the JSON of a SharedExecutionResponse; None where the token is none."""
    run = await connection.fetchrow(GET_SHARED_RUN, hash_share_token(share_token))
    return None if run is None else _reading(run["id"], _shared(connection, run))


async def _shared(connection: asyncpg.Connection, run: Row) -> Parts:
    outputs = await connection.fetch(_OUTPUT_IDS, run["id"], run["run_day"])
    interface = Interface(connection)
    async for step in StepReader(
        connection, live_steps(run["id"], run["run_day"], outputs)
    ).steps():
        await interface.add(step)
    yield b'{"outputs":'
    async for part in interface.outputs(WHOLE):
        yield part
    head = SharedExecutionResponse.from_db(run, (), {}).model_dump(exclude={"outputs"})
    yield b"," + exact_json.encode(head)[1:]


async def runs(
    connection: asyncpg.Connection,
    statement: str,
    args: Sequence[object],
    most: int,
    as_of_time: datetime | None = None,
    limit: Limit = WHOLE,
    *,
    with_values: bool = True,
) -> Parts:
    """Yield the JSON of a listing of up to `most` runs, of which `statement` finds one more."""
    page = RunRows(connection, statement, *args, with_values=with_values)
    before, count, following = b'{"data":[', 0, None
    last: Row | None = None
    async for row in page.rows():
        count += 1
        if count > most:
            following = cursors.encode(last["created_at"], last["id"]) if last else None
            break
        last = row
        parts = page.parts(row, limit)
        try:
            first = await anext(parts)
        except UnreadableRun as error:
            note(error)  # the others follow
            continue
        yield before + first
        async for part in parts:
            yield part
        before = b","
    yield b"]," if before == b"," else b'{"data":[],'
    yield _end_of_list(following, as_of_time, limit)


async def steps(connection: asyncpg.Connection, steps: StepsOfRun, following: int | None) -> Parts:
    """Yield the JSON of a listing of steps. Raises UnreadableRun."""
    async for part in _reading(steps.run_id, _steps(connection, steps, following)):
        yield part


async def _steps(connection: asyncpg.Connection, steps: StepsOfRun, following: int | None) -> Parts:
    reader, before = StepReader(connection, steps), b'{"data":['
    async for step in reader.steps():
        yield before
        async for part in parts_of_step(connection, reader, step, WHOLE):
            yield part
        before = b","
    yield b"]," if before == b"," else b'{"data":[],'
    yield _end_of_list(None if following is None else str(following), None, WHOLE)


def _end_of_list(following: str | None, as_of_time: datetime | None, limit: Limit) -> bytes:
    end: dict[str, Any] = {"next_cursor": following, "as_of": as_of_time or datetime.now(UTC)}
    if limit.most is not None:
        end["left_out"] = limit.left_out
    return exact_json.encode(end)[1:]
