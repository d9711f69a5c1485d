"""Reads over random histories return the answers of the reference, for every pair of filters."""

import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from execstream import connect, reads
from execstream.devstack import Addresses
from execstream.models import ExecutionStatus
from execstream.storage.connections import Session
from execstream.storage.schema.migrate import migrate
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.names import lent_names
from tests.orders import Orders
from tests.storage.expected import Expected, Filters, exact
from tests.storage.factories import DAWN
from tests.storage.histories import Command, History

GRAPHS = load_graphs(Path(__file__).parents[2] / "examples" / "graphs")
MIX = Mix(
    failures=0.2,
    terminated=0.1,
    review=0.1,
    resumed=0.1,
    duplicates=0.02,
    illegal=0.02,
    malformed=0.01,
)
BATCH = 500  # commands


@dataclass
class Past:
    """Tables after a random history, and the expected answers."""

    db: asyncpg.Pool
    expected: Expected
    chance: random.Random

    def pairs(self, choices: dict[str, list[Any]]) -> list[Filters]:
        """Each filter alone and each pair of them, with values that do occur."""
        chosen = [(), *itertools.combinations(choices, 1), *itertools.combinations(choices, 2)]
        return [{name: self.chance.choice(choices[name]) for name in names} for names in chosen]


@pytest.fixture(scope="module", params=range(3))
async def past(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[Past]:
    """Some sixty runs of few owners: many under way, some shared, deleted or erased at last."""
    seed = request.param
    chance = random.Random(seed)
    async with lent_names(stack) as names:
        await migrate(stack.postgres_dsn, names.schema)
        session = Session(stack.postgres_dsn, names.schema)
        history = History(session)
        await history.define(GRAPHS)
        whole: list[Command] = list(
            simulate(
                chance.sample(GRAPHS, 8),
                runs=60,
                seed=seed,
                start=DAWN,
                mix=MIX,
                interleave=20,
                owners=4,
            )
        )
        records = whole[: len(whole) * 3 // 4]  # some runs are under way
        for first in range(0, len(records), BATCH):
            await history.take(records[first : first + BATCH])
        await history.take(_last_words(history, chance))
        await session.close()
        db = await connect(stack.postgres_dsn, names.schema)
        kinds = dict(await db.fetch("select id, block_type from block"))
        yield Past(db, Expected(history.reference, kinds), chance)
        await db.close()


def _last_words(history: History, chance: random.Random) -> list[Command]:
    """Sharing, deleting and erasing of some runs."""
    words = []
    for run in chance.sample(sorted(history.reference.runs.values(), key=lambda run: run["id"]), 9):
        orders = Orders(run["id"], run["user_id"])
        words.append(
            chance.choice(
                [
                    orders.order("graph.share", is_shared=True, share_token_hash="a" * 64),
                    orders.order("graph.delete"),
                    orders.order("graph.delete", hard=True),
                ]
            )
        )
    return [(order.key, order.value) for order in words]


async def test_runs_by_every_pair_of_filters(past: Past) -> None:
    """Lists, counts, numbered pages and cursors agree with each other and with the reference."""
    rows = past.expected.all_runs
    choices: dict[str, list[Any]] = {
        "graph_exec_id": [run["id"] for run in rows],
        "graph_id": sorted({run["graph_id"] for run in rows}),
        "graph_version": sorted({run["graph_version"] for run in rows}),
        "user_id": sorted({run["user_id"] for run in rows}),
        "statuses": [past.chance.sample(list(ExecutionStatus), 3) for _ in range(5)],
        "created_time_gte": [run["created_at"] for run in rows],
        "created_time_lte": [run["created_at"] for run in rows],
    }
    for filters in past.pairs(choices):
        wanted = past.expected.run_ids(filters)

        found = await reads.get_graph_executions(past.db, **filters)
        some = await reads.get_graph_executions(past.db, **filters, limit=3)

        assert [run.id for run in found] == wanted, filters
        assert [run.id for run in some] == wanted[:3]
        if "graph_exec_id" not in filters:
            assert await _by_cursor(past.db, filters) == wanted
        if not filters.keys() & {"graph_exec_id", "graph_version"}:
            assert await reads.get_graph_executions_count(past.db, **filters) == len(wanted)
            if "user_id" in filters:
                assert await _by_page(past.db, filters) == wanted


async def test_steps_by_every_pair_of_filters(past: Past) -> None:
    """In the order of the contract, bare or with their values."""
    rows = past.expected.all_steps
    blocks = sorted({step["block_id"] for step in rows})
    choices: dict[str, list[Any]] = {
        "graph_exec_id": [run["id"] for run in past.expected.all_runs],
        "user_id": sorted({run["user_id"] for run in past.expected.all_runs}),
        "node_id": sorted({step["node_id"] for step in rows}),
        "block_ids": [past.chance.sample(blocks, 4) for _ in range(5)],
        "statuses": [past.chance.sample(list(ExecutionStatus), 3) for _ in range(5)],
        "created_time_gte": [step["added_time"] for step in rows],
        "created_time_lte": [step["added_time"] for step in rows],
    }
    for filters in past.pairs(choices):
        wanted = past.expected.step_ids(filters)

        found = await reads.get_node_executions(past.db, **filters, include_exec_data=False)
        some = await reads.get_node_executions(past.db, **filters, limit=5)

        assert [step.node_exec_id for step in found] == wanted, filters
        assert [step.node_exec_id for step in some] == wanted[:5]


async def test_each_run_with_all_it_holds(past: Past) -> None:
    """Heads, inputs, outputs, steps with their values and times, children."""
    for run in past.expected.runs:
        owner, run_id = run["user_id"], run["id"]

        meta = await reads.get_graph_execution_meta(past.db, owner, run_id)
        bare = await reads.get_graph_execution(past.db, owner, run_id)
        whole = await reads.get_graph_execution(past.db, owner, run_id, True)
        children = await reads.get_child_graph_executions(past.db, run_id, user_id=owner)

        assert meta is not None
        assert bare is not None
        assert whole is not None
        wanted = exact(past.expected.whole(run))
        told = exact(whole)
        for step in told["node_executions"]:
            del step["stats"]
        assert told == wanted
        assert exact(bare) == {n: v for n, v in wanted.items() if n != "node_executions"}
        assert exact(meta) == exact(past.expected.meta(run))
        assert [child.id for child in children] == past.expected.children(run)


async def test_what_is_hidden_stays_hidden(past: Past) -> None:
    """Deleted and erased runs, and their steps, are in no read."""
    hidden = [run for run in past.expected.all_runs if run["is_deleted"]]
    assert hidden
    for run in hidden:
        owner, run_id = run["user_id"], run["id"]
        assert await reads.get_graph_execution(past.db, owner, run_id) is None
        assert await reads.get_graph_execution_meta(past.db, owner, run_id) is None
        assert await reads.get_node_executions(past.db, run_id) == []


async def test_steps_by_their_id_and_the_latest_of_each_node(past: Past) -> None:
    """With all their values; outputs alone are the same."""
    for step in past.chance.sample(past.expected.steps, 40):
        run_id = step["graph_exec_id"]

        found = await reads.get_node_execution(past.db, step["id"], graph_exec_id=run_id)
        outputs = await reads.get_execution_outputs_by_node_exec_id(
            past.db, step["id"], graph_exec_id=run_id
        )
        latest = await reads.get_latest_node_execution(past.db, step["node_id"], run_id)

        assert found is not None
        wanted = exact(past.expected.result(step))
        assert exact(found.model_dump(exclude={"stats"})) == wanted
        assert exact(outputs) == wanted["output_data"]
        assert (latest and latest.node_exec_id) == past.expected.latest(run_id, step["node_id"])


async def test_figures_over_all_runs(past: Past) -> None:
    """Block errors in any span, costs of each owner, frequent graphs, key-values."""
    times = sorted(step["added_time"] for step in past.expected.all_steps)
    for _ in range(5):
        start, end = sorted(past.chance.sample(times, 2))
        found = await reads.get_block_error_stats(past.db, start, end, min_executions=3)
        told = {one.block_id: (one.total_executions, one.failed_executions) for one in found}
        assert told == past.expected.block_errors(start, end, 3)
        assert [one.error_rate for one in found] == sorted(
            (one.error_rate for one in found), reverse=True
        )

    for user_id in {run["user_id"] for run in past.expected.all_runs}:
        start, end = sorted(past.chance.sample(times, 2))
        cost = await reads.get_user_cost_summary(past.db, user_id, start, end)
        told_cost = (cost.executions, cost.cost, cost.failed_executions, cost.failed_cost)
        assert told_cost == past.expected.cost(user_id, start, end)
        assert sum(day.cost for day in cost.by_day) == cost.cost
        assert sum(graph.cost for graph in cost.by_graph) == cost.cost

    days_back = 40_000  # a century: the history is not of these days
    since = past.expected.runs[-1]["created_at"] - timedelta(seconds=1)
    frequent = await reads.get_frequently_executed_graphs(past.db, days_back, 2)
    assert {
        (graph.graph_id, graph.user_id): graph.execution_count for graph in frequent
    } == past.expected.frequent(since, 2)

    for (user_id, key), data in past.expected.key_values.items():
        assert exact(await reads.get_execution_kv_data(past.db, user_id, key)) == exact(data)


async def _by_cursor(db: asyncpg.Pool, filters: Filters) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await reads.list_graph_executions(db, **filters, cursor=cursor, limit=4)
        found += [run.id for run in page.data]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def _by_page(db: asyncpg.Pool, filters: Filters) -> list[str]:
    found: list[str] = []
    for number in itertools.count(1):
        page = await reads.get_graph_executions_paginated(db, **filters, page=number, page_size=4)
        found += [run.id for run in page.executions]
        if number >= page.pagination.total_pages:
            break
    return found
