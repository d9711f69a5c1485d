"""The original's tables with rows in its shape, made by SQL: ordinary ones in any number, and odd
ones by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

_TABLES = """
create type "AgentExecutionStatus" as enum
    ('INCOMPLETE', 'QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'TERMINATED', 'REVIEW');
create table "AgentNode" (id text primary key, "agentBlockId" text not null);
create table "AgentGraphExecution" (
    id text primary key, "createdAt" timestamp(3) not null default now(),
    "updatedAt" timestamp(3), "startedAt" timestamp(3), "endedAt" timestamp(3),
    "isDeleted" boolean not null default false,
    "executionStatus" "AgentExecutionStatus" not null default 'COMPLETED',
    "agentGraphId" text not null, "agentGraphVersion" integer not null default 1,
    "agentPresetId" text, inputs jsonb, "credentialInputs" jsonb, "nodesInputMasks" jsonb,
    "userId" text not null, stats jsonb,
    "parentGraphExecutionId" text references "AgentGraphExecution" (id) on delete set null,
    "isShared" boolean not null default false, "shareToken" text unique, "sharedAt" timestamp(3));
create index on "AgentGraphExecution" ("createdAt");
create table "AgentNodeExecution" (
    id text primary key,
    "agentGraphExecutionId" text not null references "AgentGraphExecution" (id),
    "agentNodeId" text not null,
    "executionStatus" "AgentExecutionStatus" not null default 'COMPLETED',
    "executionData" jsonb, "addedTime" timestamp(3) not null default now(),
    "queuedTime" timestamp(3), "startedTime" timestamp(3), "endedTime" timestamp(3), stats jsonb);
create index on "AgentNodeExecution" ("agentGraphExecutionId", "agentNodeId", "executionStatus");
create table "AgentNodeExecutionInputOutput" (
    id text primary key, name text not null, data jsonb, time timestamp(3) not null default now(),
    "referencedByInputExecId" text references "AgentNodeExecution" (id),
    "referencedByOutputExecId" text references "AgentNodeExecution" (id), "agentPresetId" text,
    unique ("referencedByInputExecId", "referencedByOutputExecId", name));
create index on "AgentNodeExecutionInputOutput" ("referencedByOutputExecId");
create table "AgentNodeExecutionKeyValueData" (
    "userId" text, key text, "agentNodeExecutionId" text not null, data jsonb,
    "createdAt" timestamp(3) not null default now(), "updatedAt" timestamp(3),
    primary key ("userId", key));
"""

# A run of six steps: the first two are starting ones, the others get two inputs over links. Ids are
# named after numbers. One step in 33 fails, one run in 50 is terminated, one in 100 deleted.
_ORDINARY = """
insert into "AgentNode" select 'node-' || n, 'block-' || n from generate_series(1, 6) n
    on conflict do nothing;
insert into "AgentGraphExecution"
select md5('run' || r)::uuid::text, at, at + interval '9 s', at + interval '100 ms',
       at + interval '9 s', r % 100 = 1,
       (case when r % 50 = 0 then 'TERMINATED' else 'COMPLETED' end)::"AgentExecutionStatus",
       'graph-' || r % 7, 1 + r % 3, null, jsonb_build_object('subject', 'Tides ' || r),
       null, null, 'user-' || r % 97,
       jsonb_build_object('cost', r % 11, 'walltime', 8.9, 'node_count', 6), null,
       r % 40 = 2, case when r % 40 = 2 then gen_random_uuid()::text end,
       case when r % 40 = 2 then at + interval '1 h' end
  from (select r, timestamp(3) '{first}' + r * interval '{step}' as at
          from generate_series({begin}, {end}) r) as made;
insert into "AgentNodeExecution"
select md5('step' || r || '/' || n)::uuid::text, md5('run' || r)::uuid::text, 'node-' || n,
       (case when (r * 6 + n) % 33 = 0 then 'FAILED' else 'COMPLETED' end)::"AgentExecutionStatus",
       case when n > 2 then jsonb_build_object('a', r, 'b', n) end,
       at + (n > 2)::int * n * interval '1 s',
       at + case when n > 2 then n * interval '1 s' + interval '200 ms' else interval '3 ms' end,
       at + n * interval '1 s' + interval '300 ms', at + n * interval '1 s' + interval '900 ms',
       jsonb_build_object('cost', 1, 'walltime', 0.6, 'input_token_count', 12)
       || case when (r * 6 + n) % 33 = 0 then '{{"error": "boom"}}'::jsonb else '{{}}' end
  from (select r, timestamp(3) '{first}' + r * interval '{step}' as at
          from generate_series({begin}, {end}) r) as made, generate_series(1, 6) n;
insert into "AgentNodeExecutionInputOutput"
select md5('input' || r || '/' || n || p)::uuid::text, p,
       case when p = 'a' then to_jsonb(r) else to_jsonb(n) end,
       at + (n > 2)::int * n * interval '1 s' + (p = 'b')::int * interval '100 ms',
       md5('step' || r || '/' || n)::uuid::text, null, null
  from (select r, timestamp(3) '{first}' + r * interval '{step}' as at
          from generate_series({begin}, {end}) r) as made,
       generate_series(1, 6) n, unnest(array['a', 'b']) p;
insert into "AgentNodeExecutionInputOutput"
select md5('output' || r || '/' || n || '/' || o)::uuid::text, 'out',
       jsonb_build_object('text', repeat('lorem ipsum ', 8), 'number', o),
       at + n * interval '1 s' + interval '500 ms', null,
       md5('step' || r || '/' || n)::uuid::text, null
  from (select r, timestamp(3) '{first}' + r * interval '{step}' as at
          from generate_series({begin}, {end}) r) as made,
       generate_series(1, 6) n, generate_series(1, 2) o;
insert into "AgentNodeExecutionKeyValueData"
select 'user-' || r % 97, 'key-' || r, md5('step' || r || '/1')::uuid::text,
       jsonb_build_object('seen', r), timestamp(3) '{first}' + r * interval '{step}', null
  from generate_series({begin}, {end}) r where r % 10 = 0;
"""
ROWS_OF_A_RUN = 31.1


class OriginalDatabase:
    """The original's tables in a schema; `dsn` is an address as Prisma takes it."""

    def __init__(self, db: asyncpg.Connection, dsn: str) -> None:
        self.db, self.dsn = db, dsn

    async def fill(self, begin: int, end: int, *, first: str, step: str) -> None:
        """Make runs with the numbers from `begin` to `end`, the first of them created at `first`,
        each of the others `step` later."""
        await self.db.execute(_ORDINARY.format(begin=begin, end=end, first=first, step=step))

    async def add(self, table: str, **columns: object) -> str:
        """Insert a row, with an id unless it has one; return the id."""
        values = {"id": str(uuid4()), **columns}
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(
            f"${number}::text::{_type_of(name)}" for number, name in enumerate(values, start=1)
        )
        await self.db.execute(
            f'insert into "{table}" ({names}) values ({places})',
            *(None if value is None else str(value) for value in values.values()),
        )
        return str(values["id"])


def _type_of(column: str) -> str:
    if column == "executionStatus":
        return '"AgentExecutionStatus"'
    if column.endswith(("At", "Time")) or column == "time":
        return "timestamp(3)"
    if column in {"data", "stats", "inputs", "executionData", "credentialInputs"}:
        return "jsonb"
    if column.startswith("is"):
        return "boolean"
    return "integer" if column.endswith("Version") else "text"


@asynccontextmanager
async def original(dsn: str) -> AsyncIterator[OriginalDatabase]:
    """Empty tables of the original's in a schema of their own at `dsn`, dropped afterwards."""
    schema = f"platform_{uuid4().hex[:12]}"
    db = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        await db.execute(f"create schema {schema}")
        await db.execute(_TABLES)
        mark = "&" if "?" in dsn else "?"
        yield OriginalDatabase(db, f"{dsn}{mark}schema={schema}&connection_limit=12")
    finally:
        await db.execute(f"drop schema if exists {schema} cascade")
        await db.close()
