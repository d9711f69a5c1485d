"""Reading the original's database, in portions of whole runs by the time of their creation."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from execstream.recovery.history_import.source_rows import (
    SourceKeyValue,
    SourceRun,
    SourceStep,
    Value,
)
from execstream.storage.connections import IMPORT, connection
from execstream.storage.original_address import parsed_address

RUNS_AT_ONCE = 200
KEY_VALUES_AT_ONCE = 5_000

_RUNS = """
select id, "createdAt", "updatedAt", "startedAt", "endedAt", "isDeleted",
       "executionStatus"::text, "agentGraphId", "agentGraphVersion", "agentPresetId",
       inputs, "credentialInputs", "nodesInputMasks", "userId", stats,
       "parentGraphExecutionId", "isShared", "shareToken", "sharedAt"
  from "AgentGraphExecution"
 where ("createdAt", id) > ($1, $2) order by "createdAt", id limit $3
"""
_STEPS = """
select e.id, e."agentGraphExecutionId", e."agentNodeId", n."agentBlockId",
       e."executionStatus"::text, e."executionData", e."addedTime", e."queuedTime",
       e."startedTime", e."endedTime", e.stats
  from "AgentNodeExecution" e left join "AgentNode" n on n.id = e."agentNodeId"
 where e."agentGraphExecutionId" = any($1::text[]) order by e."addedTime", e.id
"""
_VALUES = """
select * from (
    select id, "referencedByInputExecId", false, name, data, time
      from "AgentNodeExecutionInputOutput" where "referencedByInputExecId" = any($1::text[])
    union all
    select id, "referencedByOutputExecId", true, name, data, time
      from "AgentNodeExecutionInputOutput" where "referencedByOutputExecId" = any($1::text[])
) as given order by time, id
"""
_KEY_VALUES = """
select "userId", key, "agentNodeExecutionId", data, "createdAt", "updatedAt"
  from "AgentNodeExecutionKeyValueData"
 where ("userId", key) > ($1, $2) order by "userId", key limit $3
"""
_COUNTS = """
select (select count(*) from "AgentGraphExecution"),
       (select count(*) from "AgentNodeExecution"),
       (select count(*) from "AgentNodeExecutionInputOutput"
         where "referencedByInputExecId" is not null or "referencedByOutputExecId" is not null),
       (select count(*) from "AgentNodeExecutionKeyValueData")
"""


class SourceDatabase:
    """Reads of one connection. A portion is read in one snapshot."""

    def __init__(self, opened: asyncpg.Connection) -> None:
        self._connection = opened

    async def count(self) -> int:
        """Return the number of rows to be imported."""
        return sum(await self._connection.fetchrow(_COUNTS))

    async def runs(self) -> AsyncIterator[list[SourceRun]]:
        """Yield all runs with their steps and values, in the order of their creation."""
        after: tuple[datetime, str] = (datetime.min, "")  # noqa: DTZ901 - Postgres has no zone here
        while runs := await self._runs_after(*after):
            yield runs
            after = runs[-1].created, runs[-1].id

    async def _runs_after(self, created: datetime, run_id: str) -> list[SourceRun]:
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await self._connection.fetch(_RUNS, created, run_id, RUNS_AT_ONCE)
            runs = {row[0]: SourceRun(*row) for row in rows}
            steps = {
                row[0]: SourceStep(*row) for row in await self._connection.fetch(_STEPS, list(runs))
            }
            values = await self._connection.fetch(_VALUES, list(steps))
        for step in steps.values():
            runs[step.run_id].steps.append(step)
        for row in values:
            value = Value(*row)
            step = steps[value.step_id]
            (step.outputs if value.is_output else step.inputs).append(value)
        return list(runs.values())

    async def key_values(self) -> AsyncIterator[Sequence[SourceKeyValue]]:
        """Yield all key-values."""
        after = ("", "")
        while rows := await self._connection.fetch(_KEY_VALUES, *after, KEY_VALUES_AT_ONCE):
            yield [SourceKeyValue(*row) for row in rows]
            after = rows[-1][0], rows[-1][1]


@asynccontextmanager
async def opened_source(dsn: str) -> AsyncIterator[SourceDatabase]:
    """Open the original's database; `dsn` may be Prisma's, with the schema as a parameter."""
    address, schema = parsed_address(dsn)
    async with connection(address, schema, IMPORT) as own:
        yield SourceDatabase(own)
