"""Hot reads find their rows by an index, however many there are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asyncpg.connection import LoggedQuery

from execstream import reads
from execstream.dashboard.reads.error_families import ErrorFamilies
from execstream.dashboard.reads.rejection_lists import _cursor, list_refusals
from execstream.dashboard.reads.run_reasons import list_run_reasons
from execstream.dashboard.reads.unusual_subjects import UnusualSubjects
from execstream.devstack import Addresses
from execstream.models import ExecutionStatus
from execstream.storage.log.outcomes import _ENTRIES, find_outcome
from execstream.storage.reads import cursors
from execstream.storage.reads.block_errors import BLOCK_ERRORS
from execstream.storage.reads.pins import GET_PINS, INPUTS_AND_OUTPUTS
from execstream.storage.reads.run_filters import RunFilters
from execstream.storage.reads.run_lists import runs_page
from tests.storage.factories import DAWN, Tables, at, fresh_tables

Read = Callable[[Tables], Awaitable[object]]

DAYS = 3
RUNS = """
insert into graph_execution (id, user_id, graph_id, graph_version, status, dry_run, is_deleted,
    is_shared, created_at, ended_at, updated_at, last_seq, source_partition, started_at, stats,
    attributes)
select md5(n::text)::uuid, 'user' || n % 100, 'graph' || n % 100, 1, 'COMPLETED', false, false,
    false, $1::timestamptz + n * interval '10 seconds', $1::timestamptz + n * interval '10 seconds',
    $1, 30, 0, $1::timestamptz + n * interval '10 seconds' - n % 100 * interval '1 second',
    jsonb_build_object('cost', n % 100),
    jsonb_build_object('env', (n % 2)::text, 'tenant', 'tenant' || n % 1000)
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
TOTALS = """
insert into block_minute
select $1::timestamptz + n * interval '10 minutes', 0, 'block' || k, 5, 1, 0, 0, 0, 0, 0, 0,
    '{}', '{}'
from generate_series(0, 8000) n, generate_series(1, 10) k
"""
HOURS = """
insert into block_hour
select date_trunc('hour', minute, 'UTC'), 0, block_id, sum(added), sum(added_failed)
from block_minute group by 1, 3
"""
# Positions of every partition; the last published one is the end of the journal.
TALLIED = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, published_offset)
select consumer, consumer, partition, 50000, 1, 49999
from unnest(array['apply', 'tally']) consumer, generate_series(0, 7) partition
"""
# One run in 20 has failed, one in 2,000 in a rare way.
RUN_ERRORS = """
insert into run_error
select date_trunc('hour', ended_at), 0, id, 'block' || n % 10, 'fingerprint' || n % 50,
    case when n % 2000 = 0 then 'quota' else 'outage' end, 1, id, ended_at
from (select *, row_number() over (order by created_at) as n from graph_execution) run
where n % 20 = 0
"""
REFUSALS = """
insert into refusal
select n % 8, n, gen_random_uuid(), md5(n::text)::uuid, 'user' || n % 100, 'graph.start',
    'illegal_transition', '{}', $1::timestamptz + n * interval '10 seconds'
from generate_series(1, 20000) n
"""


@pytest.fixture(scope="module")
async def crowded(stack: Addresses) -> AsyncIterator[Tables]:
    """20,000 runs of three days with 100,000 steps, their totals, and 20,000 refusals."""
    async with fresh_tables(stack.postgres_dsn) as tables:
        for day in range(DAYS):
            await tables.db.execute("select ensure_day($1)", (DAWN + timedelta(days=day)).date())
        await tables.db.execute(RUNS, DAWN)
        await tables.db.execute(STEPS)
        await tables.db.execute(JOURNAL)
        await tables.db.execute(CREATED)
        await tables.db.execute(TOTALS, DAWN)
        await tables.db.execute(HOURS)
        await tables.db.execute(TALLIED)
        await tables.db.execute(REFUSALS, DAWN)
        await tables.db.execute(RUN_ERRORS)
        for table in GROWING:
            await tables.db.execute(f"vacuum analyze {table}")  # it also sums up block ranges
        yield tables


GROWING = (
    *("graph_execution", "node_execution", "journal"),
    *("block_minute", "block_hour", "refusal", "run_error"),
)

RUN = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"  # the first: md5 of 1
OWNER = "user1"
CURSOR = cursors.encode(at(100_000), UUID(RUN))
PLACE = _cursor(at(100_000), 4, 10_000)


async def _runs(tables: Tables, **filters: Any) -> None:
    statement, args = runs_page(RunFilters(**filters))
    await tables.db.fetch(statement, *args)


HOT_READS: dict[str, Read] = {
    "runs of a rare class of errors": lambda t: _runs(t, error_class="quota"),
    "runs of a frequent class of errors": lambda t: _runs(t, error_class="outage"),
    "runs of an error": lambda t: _runs(t, block_id="block1", fingerprint="fingerprint1"),
    "runs of a user's failed block": lambda t: _runs(t, user_id=OWNER, block_id="block1"),
    "long runs": lambda t: _runs(t, duration_gte=99.0),
    "dear runs": lambda t: _runs(t, cost_gte=99),
    "runs with a rare attribute": lambda t: _runs(t, attributes={"tenant": "tenant7"}),
    "silent runs": lambda t: _runs(
        t, statuses=[ExecutionStatus.RUNNING], updated_time_lte=at(100_000)
    ),
    "reasons of runs": lambda t: list_run_reasons(t.db, [RUN], None),
    "what is unusual": lambda t: UnusualSubjects(t.db).now(),
    "newest errors": lambda t: ErrorFamilies(t.db).newest(),
    "first page": lambda t: reads.list_graph_executions(t.db),
    "first page of a user": lambda t: reads.list_graph_executions(t.db, user_id=OWNER),
    "first page of a graph": lambda t: reads.list_graph_executions(t.db, graph_id="graph1"),
    "deep page": lambda t: reads.list_graph_executions(t.db, cursor=CURSOR),
    "deep page of a user": lambda t: reads.list_graph_executions(
        t.db, user_id=OWNER, cursor=CURSOR
    ),
    "head of a run": lambda t: reads.get_graph_execution_meta(t.db, OWNER, RUN),
    "run": lambda t: reads.get_graph_execution(t.db, OWNER, RUN),
    "run with steps": lambda t: reads.get_graph_execution(t.db, OWNER, RUN, True),
    "run as of an entry": lambda t: reads.get_graph_execution_as_of(t.db, OWNER, RUN, 20),
    "run as of a time": lambda t: reads.get_graph_execution_as_of(t.db, OWNER, RUN, at(100)),
    "page as of a time": lambda t: reads.list_graph_executions_as_of(t.db, at(100_000)),
    "page of a user as of a time": lambda t: reads.list_graph_executions_as_of(
        t.db, at(100_000), user_id=OWNER
    ),
    "steps of a run": lambda t: reads.get_node_executions(t.db, RUN),
    "latest step": lambda t: reads.get_latest_node_execution(t.db, "node", RUN),
    "step by its id": lambda t: reads.get_node_execution(t.db, RUN),
    "children": lambda t: reads.get_child_graph_executions(t.db, RUN),
    "shared run": lambda t: reads.get_graph_execution_by_share_token(t.db, "token"),
    "count of a user": lambda t: reads.get_graph_executions_count(
        t.db, OWNER, statuses=[ExecutionStatus.FAILED]
    ),
    "count of a user in a span": lambda t: reads.get_graph_executions_count(
        t.db, OWNER, created_time_gte=at(0), created_time_lte=at(9_000)
    ),
    "cost of a user": lambda t: reads.get_user_cost_summary(t.db, OWNER, at(0), at(100_000)),
    "diagnostics": lambda t: reads.get_execution_diagnostics(t.db),
    "block errors over a day": lambda t: reads.get_block_error_stats(
        t.db, at(0), at(0) + timedelta(days=1)
    ),
    "refusals": lambda t: list_refusals(t.db, None, None, None, None, 25),
    "deep page of refusals": lambda t: list_refusals(t.db, None, None, None, PLACE, 25),
    "refusals of a user": lambda t: list_refusals(t.db, OWNER, None, None, PLACE, 25),
    "refusals of a run": lambda t: list_refusals(t.db, None, RUN, None, PLACE, 25),
    "outcome of a command": lambda t: find_outcome(t.db, RUN, RUN),
    "outcome of a key-value": lambda t: find_outcome(t.db, OWNER, RUN),
    "key-value": lambda t: reads.get_execution_kv_data(t.db, OWNER, "key"),
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
    selects = [told for told in statements if told.query.strip().startswith(("select", "with"))]
    assert selects
    for told in selects:
        await _assert_indexed(crowded, told.query, *told.args)


async def test_block_errors_look_at_the_blocks_of_their_time(crowded: Tables) -> None:
    """The index of block ranges is used. The other days are no longer here than one such range."""
    rows = await crowded.db.fetch(f"explain {BLOCK_ERRORS}", at(0), at(3_600), 10)

    plan = "\n".join(row[0] for row in rows)
    assert "Bitmap Index Scan on node_execution_20260301_added_time_idx" in plan
    assert "Seq Scan on node_execution_20260301" not in plan


async def test_values_are_found_by_their_run(crowded: Tables) -> None:
    """The journal's key is used, in the partition of the run's day only."""
    step_id = await crowded.db.fetchval(
        "select id from node_execution where graph_exec_id = $1 limit 1", RUN
    )

    plan = await _assert_indexed(
        crowded, GET_PINS, [RUN], [DAWN.date()], 0, INPUTS_AND_OUTPUTS, [step_id], 99
    )

    assert "journal_20260301_pkey" in plan
    assert "journal_20260302" not in plan


async def test_an_outcome_is_looked_for_in_one_day(crowded: Tables) -> None:
    """A call that hears no reply looks again and again."""
    rows = await crowded.db.fetch(f"explain (analyze) {_ENTRIES}", RUN, RUN)

    scans = [row[0] for row in rows if "Heap Scan on journal" in row[0]]
    looked = [scan for scan in scans if "never executed" not in scan]
    assert len(looked) == 1
    assert "journal_20260301" in looked[0]


async def _assert_indexed(tables: Tables, query: str, *args: object) -> str:
    """The plan of the statement, which must not scan a table that grows."""
    rows = await tables.db.fetch(f"explain {query}", *args)
    plan = "\n".join(row[0] for row in rows)
    scanned = [session for session in plan.splitlines() if "Seq Scan" in session]
    assert all(
        any(
            table in session
            for table in (" on block ", " on graph ", " on consumer_offset ", "_other")
        )
        for session in scanned
    ), plan
    return plan
