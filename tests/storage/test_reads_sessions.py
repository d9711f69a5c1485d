"""Every read gives the same under all settings of the database, the role or the DSN for its
sessions, and for extreme times and amounts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from execstream import connect, reads
from execstream.devstack import Addresses
from execstream.models import ExecutionStatus
from execstream.storage.commit.totals import commit_tally
from execstream.storage.connections import WRITE, connection
from execstream.storage.reads import share_tokens
from execstream.storage.schema.migrate import migrate
from execstream.streams.events import encode_event
from execstream.streams.totals.aggregation import Tally, decode_fact
from tests.names import lent_names
from tests.orders import Order, Orders
from tests.storage.factories import fresh_tables
from tests.storage.histories import history

# A quarter to midnight in UTC: half past five of the next day in Kathmandu.
LATE = datetime(2026, 3, 1, 23, 45, tzinfo=UTC)
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
ORDERS = Orders(user_id="ada")
RUN, STEP, TOKEN = ORDERS.run_id, ORDERS.named("a"), "t" * 32

SETTINGS = {
    "none": {},
    "time zone": {"timezone": "Asia/Kathmandu"},
    "dates": {"datestyle": "SQL,DMY"},
    "German dates": {"datestyle": "German"},
    "intervals": {"intervalstyle": "iso_8601"},
    "search path": {"search_path": "pg_catalog"},
    "digits": {"extra_float_digits": "-5"},
    "all": {
        "timezone": "America/St_Johns",
        "datestyle": "Postgres,MDY",
        "intervalstyle": "sql_standard",
        "search_path": "nowhere",
        "extra_float_digits": "0",
    },
}

Read = Callable[[asyncpg.Pool], Awaitable[Any]]


async def _steps_of_the_past(db: asyncpg.Pool) -> Any:
    past = await reads.find_past(db, RUN, LATE + timedelta(seconds=3))
    return None if past is None else await reads.list_steps_as_of(db, past)


SPAN = (LATE - timedelta(minutes=20), LATE + timedelta(minutes=40))
READS: dict[str, Read] = {
    "find_past": lambda db: reads.find_past(db, RUN, 3),
    "get_child_graph_executions": lambda db: reads.get_child_graph_executions(db, RUN),
    "get_block_error_stats": lambda db: reads.get_block_error_stats(db, *SPAN, 1),
    "get_block_figures": lambda db: reads.get_block_figures(db, *SPAN),
    "get_execution_diagnostics": reads.get_execution_diagnostics,
    "get_execution_kv_data": lambda db: reads.get_execution_kv_data(db, "ada", "key"),
    "get_execution_outputs_by_node_exec_id": (
        lambda db: reads.get_execution_outputs_by_node_exec_id(db, STEP)
    ),
    "get_frequently_executed_graphs": lambda db: reads.get_frequently_executed_graphs(db, 9_999, 1),
    "get_graph_execution": lambda db: reads.get_graph_execution(db, "ada", RUN, True),
    "get_graph_execution_as_of": lambda db: reads.get_graph_execution_as_of(db, "ada", RUN, LATE),
    "get_graph_execution_by_share_token": (
        lambda db: reads.get_graph_execution_by_share_token(db, TOKEN)
    ),
    "get_graph_execution_meta": lambda db: reads.get_graph_execution_meta(db, "ada", RUN),
    "get_graph_executions": lambda db: reads.get_graph_executions(db, created_time_gte=SPAN[0]),
    "get_graph_executions_count": (
        lambda db: reads.get_graph_executions_count(db, created_time_lte=SPAN[1])
    ),
    "get_graph_executions_paginated": lambda db: reads.get_graph_executions_paginated(db, "ada"),
    "get_latest_node_execution": (lambda db: reads.get_latest_node_execution(db, "a", RUN)),
    "get_node_execution": lambda db: reads.get_node_execution(db, STEP),
    "get_node_executions": (
        lambda db: reads.get_node_executions(
            db, RUN, statuses=[ExecutionStatus.FAILED], created_time_gte=SPAN[0]
        )
    ),
    "get_top_errors": lambda db: reads.get_top_errors(db, *SPAN),
    "get_user_cost_summary": lambda db: reads.get_user_cost_summary(db, "ada", *SPAN),
    "list_graph_executions": lambda db: reads.list_graph_executions(db, limit=1),
    "list_graph_executions_as_of": (
        lambda db: reads.list_graph_executions_as_of(db, LATE + timedelta(seconds=3))
    ),
    "list_steps_as_of": _steps_of_the_past,
}


def orders() -> list[Order]:
    """A run, started by another, with steps that end in several ways around a day's end."""
    child = Orders(user_id="ada")

    def at(seconds: float) -> dict[str, str]:
        return {"at": (LATE + timedelta(seconds=seconds)).isoformat()}

    stats = {"cost": 7, "walltime": 0.1, "input_token_count": 3}
    nodes = [ORDERS.node(name) for name in ("a", "b", "c")]
    return [
        ORDERS.create(*nodes, inputs={"when": "01.03.2026"}, **at(0)),
        ORDERS.keep("key", "value", **at(0)),
        ORDERS.start(**at(1)),
        *(ORDERS.move_step(name, "RUNNING", **at(2)) for name in ("a", "b", "c")),
        ORDERS.emit("a", data=0.1, **at(2.5)),
        ORDERS.move_step("a", "COMPLETED", stats=stats, **at(900)),
        ORDERS.move_step("b", "FAILED", stats=stats | {"error": "HTTP 503"}, **at(901.5)),
        child.create(parent_graph_exec_id=RUN, **at(902)),
        ORDERS.move("TERMINATED", stats={"cost": 14, "walltime": 901.25}, **at(903)),
        ORDERS.order(
            "graph.share",
            is_shared=True,
            share_token_hash=share_tokens.hash_share_token(TOKEN),
            **at(904),
        ),
    ]


@pytest.fixture(scope="module")
async def schema(stack: Addresses) -> AsyncIterator[str]:
    """Rows and totals of `orders`, in a schema of this module's own."""
    async with lent_names(stack) as names:
        await migrate(stack.postgres_dsn, names.schema)
        async with history(stack.postgres_dsn, names.schema) as lived:
            events = await lived.take((order.key, order.value) for order in orders())
        tally = Tally()
        for event in events:
            tally.count(decode_fact(encode_event(event)))
        async with connection(stack.postgres_dsn, names.schema, WRITE) as own:
            await commit_tally(own, "tally", "events", [], tally)
        yield names.schema


def with_settings(dsn: str, settings: dict[str, str]) -> str:
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"{dsn}?{urlencode({'options': options})}" if settings else dsn


async def test_every_read_is_here() -> None:
    public = {name for name in vars(reads) if name.split("_")[0] in ("get", "list", "find")}
    assert public == READS.keys()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
async def test_sessions_change_no_read(
    stack: Addresses, schema: str, settings: dict[str, str]
) -> None:
    """All reads are compared, with possible settings of a DSN; each has a result."""
    dsn = stack.postgres_dsn
    plain = await connect(dsn, schema)
    odd = await connect(with_settings(dsn, settings), schema)
    try:
        for name, read in READS.items():
            expected, found = await read(plain), await read(odd)
            assert _without_now(found) == _without_now(expected), name
            assert expected, name
    finally:
        await plain.close()
        await odd.close()


def _without_now(found: Any) -> Any:
    return found.model_dump(exclude={"as_of"}) if hasattr(found, "model_dump") else found


async def test_figures_hold_from_the_first_year_to_the_last(stack: Addresses) -> None:
    """In the minutes and hours there are; and a span of all of them has both."""
    async with fresh_tables(stack.postgres_dsn) as tables:
        for when in (FIRST, LAST):
            run_id = await tables.run(created_at=when, stats={"cost": 1}, started_at=when)
            await tables.step(run_id, added_time=when, status="FAILED", ended_time=when)
        everything = (FIRST, LAST + timedelta(seconds=59))

        for span, steps in ((everything, 2), ((FIRST, LATE), 1), ((LATE, everything[1]), 1)):
            errors = await reads.get_block_error_stats(tables.db, *span, 1)
            cost = await reads.get_user_cost_summary(tables.db, "ada", *span)
            assert [block.failed_executions for block in errors] == [steps]
            assert cost.cost == steps
            assert len(cost.by_day) == steps
            assert await reads.get_block_figures(tables.db, *span) == []
            assert await reads.get_top_errors(tables.db, *span) == []
            runs = await reads.get_graph_executions(
                tables.db, created_time_gte=span[0], created_time_lte=span[1]
            )
            assert len(runs) == steps
        assert (await reads.get_execution_diagnostics(tables.db)).completed_24h == 0


async def test_sums_have_no_limit(stack: Addresses) -> None:
    """The sum is of costs that each fit into 64 bits."""
    most = 2**63 - 1
    async with fresh_tables(stack.postgres_dsn) as tables:
        for _ in range(3):
            await tables.run(stats={"cost": most}, status="FAILED")
        await tables.run(stats={"cost": -most - 1}, graph_id="other")
        start = datetime(2026, 3, 1, tzinfo=UTC)
        for minute in range(2):
            await tables.db.execute(
                """insert into block_minute
                   values ($1, 0, 'b', 1, 0, 1, 0, 0, $2, $2, $2, '{}', '{}')""",
                start + timedelta(minutes=minute),
                most,
            )
        cost = await reads.get_user_cost_summary(tables.db, "ada", start, start + timedelta(days=1))
        [figures] = await reads.get_block_figures(tables.db, start, start + timedelta(hours=1))

    assert (cost.cost, cost.failed_cost) == (2 * most - 1, 3 * most)
    assert {graph.graph_id: graph.cost for graph in cost.by_graph} == {
        "graph": 3 * most,
        "other": -most - 1,
    }
    assert (figures.cost, figures.tokens) == (2 * most, 2 * most)
