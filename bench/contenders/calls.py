"""The original's way: each call is one transaction that changes, reads back and then publishes."""

import asyncpg
import msgspec
from redis.asyncio import Redis

from bench.contenders.plain_commands import (
    AnyPlain,
    Create,
    Input,
    Output,
    Start,
    Step,
    Update,
    text,
)
from bench.contenders.small_machine import OVER, SOURCES
from execstream.streams.rules import derived_id

_CREATE = """
insert into small_run (id, user_id, graph_id, graph_version, status, inputs, created_at)
values ($1, $2, $3, $4, 'INCOMPLETE', $5, $6) on conflict (id) do nothing returning id
"""
_ADD_STEP = """
insert into small_step (id, run_id, node_id, block_id, status, added_time, queued_time)
values ($1, $2, $3, $4, $5, $6, $7)
"""
_ADD_VALUE = """
insert into small_value (id, step_id, is_output, name, data, time)
values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing
"""
_TAKING = """
select id from small_step s
 where run_id = $1 and status = 'INCOMPLETE'
   and (id = $2::uuid or ($2::uuid is null and node_id = $3))
   and not exists (select from small_value v
                    where v.step_id = s.id and v.name = $4 and not v.is_output)
 order by added_time, ctid limit 1
"""
_MOVE_RUN = """
update small_run
   set status = coalesce($2::text, status), stats = coalesce($3, stats),
       started_at = case when $5::boolean or ($2::text = 'RUNNING' and started_at is null)
                         then $4::timestamptz else started_at end,
       ended_at = case when $2::text is null then ended_at when $6::boolean then $4 end
 where id = $1 and ($2::text is null or status = any ($7)) returning id
"""
_CASCADE = """
update small_step set status = 'FAILED', ended_time = $2 where run_id = $1 and status = 'RUNNING'
"""
_MOVE_STEP = """
update small_step
   set status = $2::text, execution_data = coalesce($3, execution_data),
       stats = coalesce($4, stats),
       queued_time = case when $2::text = 'QUEUED' then $5::timestamptz else queued_time end,
       started_time = case when $2::text = 'RUNNING' then $5 else started_time end,
       ended_time = case when $2::text in ('COMPLETED', 'FAILED') then $5 else ended_time end
 where id = $1 and status = any ($6)
"""
_READ_RUN = "select * from small_run where id = $1"
_READ_STEP = "select * from small_step where id = $1"
_READ_VALUES = "select name, data, is_output from small_value where step_id = $1 order by time"

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Caller:
    """One caller: a connection to Postgres, and one to Redis for its messages."""

    def __init__(self, connection: asyncpg.Connection, redis: Redis, prefix: str) -> None:
        self._connection = connection
        self._redis = redis
        self._prefix = prefix

    async def call(self, command: AnyPlain) -> None:
        """Change the row, read it back and publish it."""
        async with self._connection.transaction():
            row = await self._change(command)
        if row is not None:
            channel = f"{self._prefix}{command.user_id}/{command.graph_exec_id}"
            await self._redis.publish(channel, _encode(row))

    async def _change(self, command: AnyPlain) -> dict[str, object] | None:
        if isinstance(command, Create):
            return await self._create(command)
        if isinstance(command, Start):
            return await self._move_run(command, "RUNNING", None)
        if isinstance(command, Update):
            return await self._move_run(command, command.status, text(command.stats))
        if isinstance(command, Input):
            return await self._add_input(command)
        if isinstance(command, Output):
            return await self._add_output(command)
        return await self._move_step(command)

    async def _create(self, command: Create) -> dict[str, object] | None:
        run_id, execute = command.graph_exec_id, self._connection.execute
        about = (command.user_id, command.graph_id, command.graph_version)
        inputs = text(command.inputs)
        if not await self._connection.fetchval(_CREATE, run_id, *about, inputs, command.at):
            return None
        for index, node in enumerate(command.starting_nodes):
            step_id = derived_id(command.id, f"starting/{index}")
            step = (step_id, run_id, node.node_id, node.block_id, "QUEUED", command.at)
            await execute(_ADD_STEP, *step, command.at)
            for pin, data in node.inputs.items():
                value_id = derived_id(command.id, f"{index}/{pin}")
                await execute(_ADD_VALUE, value_id, step_id, False, pin, text(data), command.at)
        return await self._read(_READ_RUN, run_id)

    async def _move_run(
        self, command: Start | Update, to: str | None, stats: str | None
    ) -> dict[str, object] | None:
        sources = list(SOURCES.get(to or "", ()))
        is_start, ends = isinstance(command, Start), to in OVER
        run_id, at = command.graph_exec_id, command.at
        moved = await self._connection.fetchval(
            _MOVE_RUN, run_id, to, stats, at, is_start, ends, sources
        )
        if moved and ends:
            await self._connection.execute(_CASCADE, run_id, at)
        return await self._read(_READ_RUN, run_id)

    async def _add_input(self, command: Input) -> dict[str, object] | None:
        run_id, fetchval = command.graph_exec_id, self._connection.fetchval
        if await fetchval("select true from small_value where id = $1", command.id):
            return None
        wanted = (command.node_exec_id, command.node_id, command.input_name)
        step_id = await fetchval(_TAKING, run_id, *wanted)
        if step_id is None:
            if command.node_exec_id is not None:
                return None
            if not await fetchval("select true from small_run where id = $1", run_id):
                return None
            step_id = command.new_node_exec_id or derived_id(command.id, "node")
            step = (step_id, run_id, command.node_id, command.block_id, "INCOMPLETE", command.at)
            await self._connection.execute(_ADD_STEP, *step, None)
        value = (command.input_name, text(command.input_data), command.at)
        await self._connection.execute(_ADD_VALUE, command.id, step_id, False, *value)
        return await self._read_step(step_id)

    async def _add_output(self, command: Output) -> dict[str, object] | None:
        if await self._read(_READ_STEP, command.node_exec_id) is None:
            return None
        value = (command.output_name, text(command.output_data), command.at)
        await self._connection.execute(_ADD_VALUE, command.id, command.node_exec_id, True, *value)
        return await self._read_step(command.node_exec_id)

    async def _move_step(self, command: Step) -> dict[str, object] | None:
        payloads = (text(command.execution_data), text(command.stats))
        sources = list(SOURCES.get(command.status, ()))
        await self._connection.execute(
            *(_MOVE_STEP, command.node_exec_id, command.status),
            *(*payloads, command.at, sources),
        )
        return await self._read_step(command.node_exec_id)

    async def _read_step(self, step_id: str) -> dict[str, object] | None:
        row = await self._read(_READ_STEP, step_id)
        values = await self._connection.fetch(_READ_VALUES, step_id)
        return row and row | {"values": [dict(value) for value in values]}

    async def _read(self, query: str, row_id: str) -> dict[str, object] | None:
        row = await self._connection.fetchrow(query, row_id)
        return row and dict(row)
