"""The small schema of the contenders without a journal, and the comparison at the end.

Runs, steps and values, as the original has them: no journal, no events in a log, no key-values, no
refusals, no dead letters, no fence. Moves keep to the same table of transitions.
"""

from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

TABLES = """
create table small_run (
    id uuid primary key, user_id text not null, graph_id text not null, graph_version int not null,
    status text not null, inputs jsonb, stats jsonb, created_at timestamptz not null,
    started_at timestamptz, ended_at timestamptz
);
create index on small_run (user_id, created_at desc);
create index on small_run (status);
create table small_step (
    id uuid primary key, run_id uuid not null, node_id text not null, block_id text not null,
    status text not null, execution_data jsonb, stats jsonb, added_time timestamptz not null,
    queued_time timestamptz, started_time timestamptz, ended_time timestamptz
);
create index on small_step (run_id, node_id, status);
create table small_value (
    id uuid primary key, step_id uuid not null, is_output boolean not null, name text not null,
    data jsonb not null, time timestamptz not null
);
create index on small_value (step_id, name);
create table small_offset (partition int primary key, next_offset bigint not null);

create function commit_small(
    partitions int[], nexts bigint[], runs small_run[], steps small_step[], vals small_value[]
) returns void language sql as $$
    insert into small_offset select * from unnest(partitions, nexts)
    on conflict (partition) do update set next_offset = excluded.next_offset;
    insert into small_run as r select * from unnest(runs)
    on conflict (id) do update set status = excluded.status,
        stats = coalesce(excluded.stats, r.stats),
        started_at = excluded.started_at, ended_at = excluded.ended_at;
    insert into small_step as s select * from unnest(steps)
    on conflict (id) do update set status = excluded.status,
        execution_data = coalesce(excluded.execution_data, s.execution_data),
        stats = coalesce(excluded.stats, s.stats), queued_time = excluded.queued_time,
        started_time = excluded.started_time, ended_time = excluded.ended_time;
    insert into small_value select * from unnest(vals);
$$;
"""
COMMIT = "select commit_small($1, $2, $3, $4, $5)"


class Final(NamedTuple):
    """The final state that a contender must reach; ids and times by id."""

    runs: dict[str, tuple[Any, ...]]
    steps: dict[str, tuple[Any, ...]]
    values: dict[str, tuple[Any, ...]]


_RUNS = "select id, status, started_at, ended_at from small_run"
_STEPS = """
select id, run_id, node_id, status, queued_time, started_time, ended_time from small_step
"""
_VALUES = "select id, step_id, is_output, name from small_value"


async def find_difference(connection: asyncpg.Connection, expected: Final) -> str | None:
    """The first table with unexpected rows, and the numbers of these; None: equal."""
    queries = (_RUNS, _STEPS, _VALUES)
    for name, query, wanted in zip(Final._fields, queries, expected, strict=True):
        found = {str(row[0]): _plain(row) for row in await connection.fetch(query)}
        if found != wanted:
            unlike = sum(found.get(key) != row for key, row in wanted.items())
            return f"{name}: {len(found)} rows for {len(wanted)}, {unlike} of these unlike"
    return None


def _plain(row: asyncpg.Record) -> tuple[Any, ...]:
    kept = (str, bool, datetime, type(None))
    return tuple(value if isinstance(value, kept) else str(value) for value in tuple(row)[1:])
