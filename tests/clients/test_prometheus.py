"""Dashboards and alert rules on a real Prometheus, and its figures beside the rows and the page."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from execstream import ExecutionClient
from execstream.devstack.ports import free_ports
from tests.dashboard.serving import site
from tests.fetching import program as fetched
from tests.orders import Order, Orders
from tests.worker import Installation, until

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
NEW_DASHBOARDS = ("Blocks", "Graphs", "Pipeline")
# Counters that have no series before something goes wrong.
MAY_BE_EMPTY = re.compile(r"execstream_(retries|refusals|dead_letters|events_republished)_total")
SHOWN_FROM, SHOWN_UNTIL = 122, 132  # seconds after a minute began: steps of a minute fall between
RUNS = 24
Answers = list[dict[str, Any]]


class Prometheus(NamedTuple):
    """A running Prometheus."""

    http: httpx.AsyncClient

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = (await self.http.get(f"/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str, time: float | None = None) -> Answers:
        at = {} if time is None else {"time": time}
        found: Answers = (await self.get("query", query=expression, **at))["result"]
        return found

    async def figures(self, metric: str, label: str, time: float) -> dict[str, float]:
        return {
            one["metric"][label]: float(one["value"][1]) for one in await self.query(metric, time)
        }


def configuration(folder: Path, addresses: dict[str, str]) -> Path:
    """That of the composed installation, with these addresses, and a shorter interval."""
    document = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
    document["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
    document["rule_files"] = [str(ROOT / "ops/prometheus/alerts.yml")]
    for job in document["scrape_configs"]:
        del job["dns_sd_configs"]
        job.pop("authorization", None)
        job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(document))
    return file


@asynccontextmanager
async def prometheus(folder: Path, addresses: dict[str, str]) -> AsyncIterator[Prometheus]:
    [port] = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            fetched("prometheus"),
            f"--config.file={configuration(folder, addresses)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield Prometheus(http)
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(scope="module")
async def page(place: Installation, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Workers of all roles, a server and a Prometheus: clients of the last two."""
    ports: dict[str, Any] = dict(zip(("apply", "tally", "bridge"), free_ports(3), strict=True))
    fetched("prometheus")
    async with AsyncExitStack() as running:
        for role, port in ports.items():
            worker = await place.start_worker(role, **{f"{role}_port": port})
            running.push_async_callback(worker.stop)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in place.settings.environment().items():
                environment.setenv(name, value)
            sender = await running.enter_async_context(ExecutionClient())
        http = await running.enter_async_context(site(place.settings, sender))
        addresses = {f"execstream-{role}": f"127.0.0.1:{port}" for role, port in ports.items()}
        addresses["execstream-server"] = http.base_url.netloc.decode()
        folder = tmp_path_factory.mktemp("prometheus")
        yield http, await running.enter_async_context(prometheus(folder, addresses))


def runs(minute: datetime) -> Iterator[Order]:
    """Runs whose steps ended in `minute`: half of those of block `flaky` failed, two thirds of them
    by an outage; their runs fail and take a step with them."""
    for number in range(RUNS):
        run = Orders(user_id=f"user-{number % 3}")
        failed = number % 2 == 0
        error = "HTTP 503 from the provider" if number % 3 else "invalid input: no url"
        nodes = [run.node(name, block_id=name) for name in ("flaky", "steady", "slow")]
        begin = minute + timedelta(seconds=1)
        yield run.create(*nodes, graph_id=f"graph-{number % 2}", at=begin.isoformat())
        yield run.start(at=begin.isoformat())
        for name in ("flaky", "steady", "slow"):
            yield run.move_step(name, "RUNNING", at=begin.isoformat())
        for name, seconds in (("steady", 2), ("flaky", 3)):
            ended = (minute + timedelta(seconds=1 + seconds + number % 4)).isoformat()
            stats: dict[str, Any] = {"cost": 7}
            if failed and name == "flaky":
                stats["error"] = error
            status = "FAILED" if failed and name == "flaky" else "COMPLETED"
            yield run.move_step(name, status, stats=stats, at=ended)
        end = (minute + timedelta(seconds=20)).isoformat()
        if not failed:
            yield run.move_step("slow", "COMPLETED", stats={"cost": 1}, at=end)
        yield run.move("FAILED" if failed else "COMPLETED", at=end)


_BLOCKS = """
select block_id, sum(added)::float8 as added, sum(ended)::float8 as ended,
       sum(failed)::float8 as failed, sum(caller_failed)::float8 as caller_failed,
       sum(cascaded)::float8 as cascaded, sum(cost)::float8 as cost
  from block_minute where minute = $1 group by 1
"""
_GRAPHS = """
select graph_id, sum(completed)::float8 as completed, sum(failed)::float8 as failed
  from graph_minute where minute = $1 group by 1
"""


async def counted(place: Installation, minute: datetime) -> dict[str, dict[str, float]]:
    """The rows of `block_minute`, once all steps are in them."""

    async def all_() -> dict[str, dict[str, float]]:
        rows = {row["block_id"]: dict(row) for row in await place.db.fetch(_BLOCKS, minute)}
        complete = sum(row["ended"] + row["cascaded"] for row in rows.values()) == 3 * RUNS
        return rows if complete else {}

    found: dict[str, dict[str, float]] = await until(all_)
    return found


async def expressions(source: Prometheus, dashboard: dict[str, Any]) -> list[str]:
    """The queries of a dashboard, with all values of its variables."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
        found = await source.get(f"label/{label}/values", **{"match[]": metric})
        assert found, variable["query"]
        values[variable["name"]] = f"({'|'.join(map(re.escape, found))})".replace("\\", "\\\\")
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    for name, value in values.items():
        assert any(f"${name}" in query for query in queries), name
        queries = [query.replace(f'"${name}"', f'"{value}"') for query in queries]
    return [query.replace("$__rate_interval", "30s") for query in queries]


async def test_a_minute_is_the_same_everywhere(place: Installation, page: Any) -> None:
    """Prometheus, `block_minute` and the page have the same figures of one minute; every query of
    every dashboard and rule works, and the rules find the block and the graph that fail."""
    http, source = page
    await place.db.execute("insert into budget values ('b', 'user_day', 50, 'alert', null, null)")
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    await place.put(runs(minute))
    blocks = await counted(place, minute)
    began = minute.timestamp()

    async def is_shown() -> float:
        now = datetime.now(UTC).timestamp()
        found = await source.query("execstream_minute_timestamp_seconds")
        assert now < began + SHOWN_UNTIL, found
        return now if now > began + SHOWN_FROM and float(found[0]["value"][1]) == began else 0.0

    time = await until(is_shown, SHOWN_UNTIL)

    for name in ("added", "ended", "failed", "caller_failed", "cascaded"):
        metric = f"execstream_minute_steps_{name}"
        expected = {block_id: row[name] for block_id, row in blocks.items()}
        assert await source.figures(metric, "block", time) == expected, name
        of_hour = f"sum_over_time({metric}[1h:1m])"
        assert await source.figures(of_hour, "block", time) == expected, name
    costs = {block_id: row["cost"] for block_id, row in blocks.items()}
    assert await source.figures("execstream_minute_cost_cents", "block", time) == costs
    await _check_page(http, place, source, minute, time)
    await _check_dashboards(source, time)
    await _check_rules(source)


async def _check_page(
    http: httpx.AsyncClient, place: Installation, source: Prometheus, minute: datetime, time: float
) -> None:
    """The page's minute has the figures of Prometheus, of blocks and of graphs."""
    for path, id_, metrics in (
        ("/v1/blocks/live", "block", ("steps_ended", "steps_failed")),
        (
            "/v1/graphs/figures",
            "graph",
            ('runs{status=~"COMPLETED|FAILED"}', 'runs{status="FAILED"}'),
        ),
    ):
        listed = (await http.get(path)).json()
        shown = {
            one[f"{id_}_id"]: tuple(map(float, counts))
            for one in (listed["data"] if isinstance(listed, dict) else listed)
            for at, *counts in one["minutes"]
            if datetime.fromisoformat(at) == minute
        }
        ended, failed = [
            await source.figures(f"sum by ({id_}) (execstream_minute_{metric})", id_, time)
            for metric in metrics
        ]
        assert shown == {one: (ended[one], failed[one]) for one in ended}, path
        assert sum(failed.values()) > 0
    rows = {row["graph_id"]: row["failed"] for row in await place.db.fetch(_GRAPHS, minute)}
    assert failed == rows


async def _check_dashboards(source: Prometheus, time: float) -> None:
    titles = set()
    for file in (ROOT / "ops/grafana/dashboards").glob("*.json"):
        dashboard = json.loads(file.read_text())
        titles.add(dashboard["title"])
        for query in await expressions(source, dashboard):
            found = await source.query(query, time)
            if dashboard["title"] in NEW_DASHBOARDS and not MAY_BE_EMPTY.search(query):
                assert found, query
    assert titles.issuperset(NEW_DASHBOARDS)


async def _check_rules(source: Prometheus) -> None:
    async def states() -> dict[str, list[dict[str, str]]]:
        groups = (await source.get("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        active = {rule["name"]: [one["labels"] for one in rule["alerts"]] for rule in rules}
        return active if active["ExecstreamBlockFailing"] else {}

    active = await until(states)

    assert [labels["block"] for labels in active["ExecstreamBlockFailing"]] == ["flaky"]
    assert [labels["graph"] for labels in active["ExecstreamGraphFailing"]] == ["graph-0"]
    assert [labels["budget"] for labels in active["ExecstreamBudgetNearlyUsed"]] == ["b"]
    assert active["ExecstreamVersionsDiffer"] == []
    assert active["ExecstreamDown"] == []
