"""Hot reads find their rows by an index, however many there are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from asyncpg.connection import LoggedQuery

import storage
from devstack import Addresses
from storage.models import ExecutionStatus
from storage.reads import cursors
from storage.reads.blocks import BLOCK_ERRORS
from storage.reads.pins import GET_PINS, INPUTS_AND_OUTPUTS
from tests.storage.factories import DAWN, Tables, at, fresh_tables

Read = Callable[[Tables], Awaitable[object]]

DAYS = 3
RUNS = """
insert into graph_execution (id, user_id, graph_id, graph_version, status, dry_run, is_deleted,
    is_shared, created_at, ended_at, updated_at, last_seq, source_partition)
select md5(n::text)::uuid, 'user' || n % 100, 'graph' || n % 100, 1, 'COMPLETED', false, false,
    false, $1::timestamptz + n * interval '10 seconds', $1::timestamptz + n * interval '10 seconds',
    $1, 30, 0
from generate_series(1, 20000) n
"""
STEPS = """
insert into node_execution (id, graph_exec_id, run_day, node_id, block_id, status, added_seq,
    added_time, queued_time)
select gen_random_uuid(), id, (created_at at time zone 'UTC')::date, 'node', 'block', 'COMPLETED',
    2 * k, created_at, created_at
from graph_execution, generate_series(1, 5) k
"""
JOURNAL = """
insert into journal (graph_exec_id, seq, run_day, at, command_id, type, node_exec_id, name, data,
    source_partition, source_offset, source_index)
select graph_exec_id, added_seq + 1, run_day, added_time, gen_random_uuid(), 'node.input_added', id,
    'pin', '1', 0, 0, 0
from node_execution
"""

CREATED = """
insert into journal (graph_exec_id, seq, run_day, at, command_id, type, status,
    source_partition, source_offset, source_index)
select id, 1, (created_at at time zone 'UTC')::date, created_at, gen_random_uuid(),
    'graph.created', 'INCOMPLETE', 0, 0, 0
from graph_execution
"""


@pytest.fixture(scope="module")
async def crowded(stack: Addresses) -> AsyncIterator[Tables]:
    """20,000 runs of three days with 100,000 steps."""
    async with fresh_tables(stack.postgres_dsn) as tables:
        for day in range(DAYS):
            await tables.db.execute("select ensure_day($1)", (DAWN + timedelta(days=day)).date())
        await tables.db.execute(RUNS, DAWN)
        await tables.db.execute(STEPS)
        await tables.db.execute(JOURNAL)
        await tables.db.execute(CREATED)
        for table in ("graph_execution", "node_execution", "journal"):
            await tables.db.execute(f"vacuum analyze {table}")  # it also sums up block ranges
        yield tables


RUN = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"  # the first: md5 of 1
OWNER = "user1"
CURSOR = cursors.encode(at(100_000), UUID(RUN))

# Its block ranges are as large as the days of this test; at a size that matters they are not.
BY_STEPS = "block errors, by steps"

HOT_READS: dict[str, Read] = {
    "first page": lambda t: storage.list_graph_executions(t.db),
    "first page of a user": lambda t: storage.list_graph_executions(t.db, user_id=OWNER),
    "first page of a graph": lambda t: storage.list_graph_executions(t.db, graph_id="graph1"),
    "deep page": lambda t: storage.list_graph_executions(t.db, cursor=CURSOR),
    "deep page of a user": lambda t: storage.list_graph_executions(
        t.db, user_id=OWNER, cursor=CURSOR
    ),
    "head of a run": lambda t: storage.get_graph_execution_meta(t.db, OWNER, RUN),
    "run": lambda t: storage.get_graph_execution(t.db, OWNER, RUN),
    "run with steps": lambda t: storage.get_graph_execution(t.db, OWNER, RUN, True),
    "run as of an entry": lambda t: storage.get_graph_execution_as_of(t.db, OWNER, RUN, 20),
    "run as of a time": lambda t: storage.get_graph_execution_as_of(t.db, OWNER, RUN, at(100)),
    "page as of a time": lambda t: storage.list_graph_executions_as_of(t.db, at(100_000)),
    "page of a user as of a time": lambda t: storage.list_graph_executions_as_of(
        t.db, at(100_000), user_id=OWNER
    ),
    "steps of a run": lambda t: storage.get_node_executions(t.db, RUN),
    "latest step": lambda t: storage.get_latest_node_execution(t.db, "node", RUN),
    "step by its id": lambda t: storage.get_node_execution(t.db, RUN),
    "children": lambda t: storage.get_child_graph_executions(t.db, RUN),
    "shared run": lambda t: storage.get_graph_execution_by_share_token(t.db, "token"),
    "count of a user": lambda t: storage.get_graph_executions_count(
        t.db, OWNER, statuses=[ExecutionStatus.FAILED]
    ),
    "count of a user in a span": lambda t: storage.get_graph_executions_count(
        t.db, OWNER, created_time_gte=at(0), created_time_lte=at(9_000)
    ),
    "cost of a user": lambda t: storage.get_user_cost_summary(t.db, OWNER, at(0), at(100_000)),
    "diagnostics": lambda t: storage.get_execution_diagnostics(t.db),
    "key-value": lambda t: storage.get_execution_kv_data(t.db, OWNER, "key"),
}


@pytest.mark.parametrize("name", HOT_READS)
async def test_a_hot_read_scans_no_table(crowded: Tables, name: str) -> None:
    """Every statement of it goes by an index."""
    statements: list[LoggedQuery] = []
    async with crowded.db.acquire() as connection:
        connection.add_query_logger(statements.append)

    await HOT_READS[name](crowded)

    async with crowded.db.acquire() as connection:
        connection.remove_query_logger(statements.append)
    selects = [told for told in statements if told.query.strip().startswith("select")]
    assert selects
    for told in selects:
        await _assert_indexed(crowded, told.query, *told.args, scanning=name != BY_STEPS)


async def test_block_errors_look_at_the_blocks_of_their_time(crowded: Tables) -> None:
    """By the index of block ranges. The other days are no longer here than one such range."""
    rows = await crowded.db.fetch(f"explain {BLOCK_ERRORS}", at(0), at(3_600), 10)

    plan = "\n".join(row[0] for row in rows)
    assert "Bitmap Index Scan on node_execution_20260301_added_time_idx" in plan
    assert "Seq Scan on node_execution_20260301" not in plan


async def test_values_are_found_by_their_run(crowded: Tables) -> None:
    """By the journal's key, in the partition of the run's day only."""
    step_id = await crowded.db.fetchval(
        "select id from node_execution where graph_exec_id = $1 limit 1", RUN
    )

    plan = await _assert_indexed(
        crowded, GET_PINS, [RUN], [DAWN.date()], 0, INPUTS_AND_OUTPUTS, [step_id], 99
    )

    assert "journal_20260301_pkey" in plan
    assert "journal_20260302" not in plan


async def _assert_indexed(tables: Tables, query: str, *args: object, scanning: bool = True) -> str:
    """The plan of the statement, which must not scan a table that grows.

    Without `scanning` it may do so only where no index would serve.
    """
    async with tables.db.acquire() as connection, connection.transaction():
        await connection.execute(f"set local enable_seqscan = {'on' if scanning else 'off'}")
        rows = await connection.fetch(f"explain {query}", *args)
    plan = "\n".join(row[0] for row in rows)
    scanned = [line for line in plan.splitlines() if "Seq Scan" in line]
    assert all(
        " on block " in line or " on graph " in line or "_other" in line for line in scanned
    ), plan
    return plan
