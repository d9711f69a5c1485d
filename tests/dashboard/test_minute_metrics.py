"""Metrics of blocks, graphs and budgets, beside the rows that they come from."""

from collections.abc import Mapping

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from execstream.dashboard.reads.minute_figures import KEPT_FOR, MOST, MinuteReads
from execstream.dashboard.server import Server
from execstream.streams.totals.histogram import bucket_of
from tests.worker import Installation, until

_BLOCK = """
insert into block_minute (minute, source_partition, block_id, added, added_failed, ended, failed,
    terminated, duration_ms, cost, tokens, histogram, error_classes, cascaded, caller_failed)
select date_trunc('minute', now()) - make_interval(mins => ago), partition, $1, 7, 0,
       $2, $3::bigint, 1, 5, 9, 0, $4, jsonb_build_object('outage', $3::bigint), 2, 1
  from generate_series(0, 3) as ago, generate_series(0, 1) as partition
"""
_GRAPH = """
insert into graph_minute
select date_trunc('minute', now()) - make_interval(mins => ago), 0, $1, 1, 1, 1, $2, 0, $3, 0
  from generate_series(0, 3) as ago
"""
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(autouse=True)
async def _empty(place: Installation) -> None:
    await place.db.execute("truncate block_minute, graph_minute, budget, spending")


async def shown(http: httpx.AsyncClient) -> Mapping[Sample, float]:
    """All samples of the server that are about a minute or a budget."""
    text = (await http.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("execstream_minute", "execstream_budget", "execstream_build"))
    }


async def fresh(
    http: httpx.AsyncClient, server: Server, place: Installation
) -> Mapping[Sample, float]:
    """The samples after an answer that is not kept from an earlier test."""
    assert KEPT_FOR < 10

    async def is_read_again() -> bool:
        now = await shown(http)
        blocks = {labels for name, labels in now if name == "execstream_minute_steps_ended"}
        rows = await place.db.fetchval("select count(distinct block_id) from block_minute")
        return bool(len(blocks) == min(rows, MOST + 1))

    await until(is_read_again)
    return await shown(http)


def of(samples: Mapping[Sample, float], name: str, /, **labels: str) -> float:
    return samples[f"execstream_{name}", frozenset(labels.items())]


async def test_a_minute_is_the_sum_of_its_rows(
    place: Installation, server: Server, http: httpx.AsyncClient
) -> None:
    """Over partitions, with the names of the catalogue, by class of error and by duration."""
    await place.db.execute("insert into block values ('b', 'Search the web', 'tool')")
    await place.db.execute("insert into graph values ('g', 1, 'Old'), ('g', 2, 'New')")
    durations = f'{{"{bucket_of(200_000)}": 4, "{bucket_of(20_000_000)}": 1}}'
    await place.db.execute(_BLOCK, "b", 5, 3, durations)
    await place.db.execute(_GRAPH, "g", 4, 2)

    now = await fresh(http, server, place)

    block = {"block": "b", "name": "Search the web"}
    for name, figure in {
        "added": 14,
        "ended": 10,
        "failed": 6,
        "caller_failed": 2,
        "cascaded": 4,
        "terminated": 2,
    }.items():
        assert of(now, f"minute_steps_{name}", **block) == figure, name
    assert of(now, "minute_cost_cents", **block) == 18
    by_class = {**block, "class": "outage"}
    assert of(now, "minute_steps_failed_by_class", **by_class) == 6
    up_to = {"0.1": 0, "0.3": 8, "10": 8, "30": 10, "+Inf": 10}
    for bound, count in up_to.items():
        assert of(now, "minute_step_seconds_bucket", **block, le=bound) == count, bound
    graph = {"graph": "g", "name": "New"}
    assert of(now, "minute_runs", **graph, status="COMPLETED") == 4
    assert of(now, "minute_runs", **graph, status="FAILED") == 2
    assert [name for name, _ in now].count("execstream_build_info") == 1


async def test_series_are_bounded(
    place: Installation, server: Server, http: httpx.AsyncClient
) -> None:
    """The blocks that fail most have their own; the others are summed, and so is a block that is
    named like the sum.
    """
    for number in range(MOST + 20):
        await place.db.execute(_BLOCK, f"block-{number}", 100, number, "{}")
    await place.db.execute(_BLOCK, "other", 100, 0, "{}")

    now = await fresh(http, server, place)

    ended = {
        dict(labels)["block"]: value
        for (name, labels), value in now.items()
        if name == "execstream_minute_steps_ended"
    }
    own = {f"block-{number}" for number in range(20, MOST + 20)}
    assert ended.keys() == own | {"other"}
    assert ended["other"] == 21 * 200
    assert of(now, "minute_steps_failed", block="other", name="") == 2 * sum(range(20))


async def test_the_use_of_budgets(place: Installation) -> None:
    """A budget shows the greatest of the costs that count for it; one without costs is at 0."""
    await place.db.execute(
        """insert into budget values ('any', 'user_day', 100, 'alert', null, null),
                  ('ada', 'user_day', 400, 'alert', null, 'ada'),
                  ('graphs', 'graph_day', 50, 'alert', null, null),
                  ('runs', 'run', 50, 'alert', null, null)"""
    )
    await place.db.execute(
        """insert into spending
           select (now() at time zone 'UTC')::date - ago, partition, per, subject, cost
             from (values ('user_day', 'ada', 30), ('user_day', 'bob', 40)) s (per, subject, cost),
                  generate_series(0, 1) as ago, generate_series(0, 1) as partition"""
    )

    budgets = (await MinuteReads(place.db).get()).budgets

    used = {budget.budget_id: budget.used for budget in budgets}
    assert used == {"any": 0.8, "ada": 0.15, "graphs": 0.0, "runs": 0.0}


async def test_many_scrapes_read_once(place: Installation) -> None:
    """Nothing is read before the first one, and its answer is kept."""
    statements: list[str] = []

    def note(statement: asyncpg.connection.LoggedQuery) -> None:
        statements.append(statement.query)

    pool = await asyncpg.create_pool(
        place.settings.postgres,
        min_size=1,
        max_size=1,
        server_settings={"search_path": place.settings.schema_},
    )
    async with pool:
        async with pool.acquire() as connection:
            connection.add_query_logger(note)
            reads = MinuteReads(pool)
            assert statements == []
        for _ in range(20):
            await reads.get()
        assert sum("from block_minute where" in one for one in statements) == 1
