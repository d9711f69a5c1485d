"""What is not as usual, and lists of the runs behind it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.agents.tallied import counted
from tests.orders import Orders
from tests.worker import Installation, Worker, until

pytestmark = pytest.mark.usefixtures("worker")

Json = Any
OUTAGE = "503 Service Unavailable"


@pytest.fixture(scope="module")
async def tally(place: Installation) -> AsyncIterator[Worker]:
    """A worker that counts."""
    worker = await place.start_worker("tally")

    async def owns() -> bool:
        assert worker.is_alive, worker.log()
        return bool(worker.said("owns"))

    await until(owns)
    yield worker
    await worker.stop()


@pytest.fixture(scope="module")
async def runs(place: Installation, tally: Worker) -> dict[str, Orders]:
    """Runs by what is special about them."""
    runs = {
        "failed": Orders(user_id="ada-now"),
        "other": Orders(user_id="bob-now"),
        "good": Orders(user_id="bob-now"),
        "silent": Orders(user_id="ada-now"),
    }
    attributes = {"failed": {"env": "prod"}, "good": {"env": "prod", "team": "a=b"}}
    now = datetime.now(UTC)
    begun, ended = ({"at": (now - timedelta(seconds=n)).isoformat()} for n in (90, 30))
    dear = {"stats": {"cost": 900}}
    for name, error in (("failed", OUTAGE), ("other", "no such column"), ("good", "")):
        run = runs[name]
        nodes = [run.node(one, block_id=f"now-{one}") for one in "ab"]
        given = {"attributes": attributes.get(name)} | begun
        await place.put([run.create(*nodes, graph_id="now", graph_version=7, **given)])
        await place.put([run.start(**begun), run.move_steps(["a", "b"], "RUNNING", **begun)])
        paid = {"stats": {"cost": 7, "input_token_count": 3}} | ended
        await place.put([run.move_step("a", "COMPLETED", **paid)])
        stats = {"stats": {"error": error}} if error else {}
        status = "FAILED" if error else "COMPLETED"
        await place.put([run.move_step("b", status, **stats, **ended)])
        await place.put([run.move(status, **(dear if name == "good" else {}), **ended)])
    run = runs["silent"]
    long_ago = {"at": (now - timedelta(minutes=20)).isoformat()}
    await place.put([run.create(run.node("a", block_id="now-stuck"), graph_id="now", **long_ago)])
    await place.put([run.start(**long_ago), run.move_step("a", "RUNNING", **long_ago)])
    await place.drained()
    await place.events()
    await counted(place)
    return runs


async def get(http: httpx.AsyncClient, path: str, **parameters: Json) -> Json:
    answer = await http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_subjects_beside_their_usual_rates(
    http: httpx.AsyncClient, runs: dict[str, Orders]
) -> None:
    """Blocks, versions of graphs and users, with their failures and costs of the last hour."""
    told = await get(http, "/v1/now")
    failing = told["failing"]
    [block] = [one for one in failing["blocks"] if one["block_id"] == "now-b"]
    assert (block["ended"], block["failed"], block["usual_rate"]) == (3, 2, 0)
    assert block["since"] is not None
    [graph] = [one for one in failing["graphs"] if one["graph_id"] == "now"]
    assert (graph["graph_version"], graph["ended"], graph["failed"]) == (7, 3, 2)
    by_user = {one["user_id"]: (one["ended"], one["failed"]) for one in failing["users"]}
    assert (by_user["ada-now"], by_user["bob-now"]) == ((1, 1), (2, 1))
    [spender] = [one for one in told["spending"]["users"] if one["user_id"] == "bob-now"]
    assert (spender["cost"], spender["usual_cost"], spender["is_dear"]) == (900, 0, True)


async def test_error_families_and_silent_runs(
    http: httpx.AsyncClient, runs: dict[str, Orders]
) -> None:
    """Each with a step to look at."""
    told = await get(http, "/v1/now")
    [family] = [one for one in told["errors"] if one["class"] == "outage"]
    assert (family["block_id"], family["failures"], family["runs"]) == ("now-b", 1, 1)
    assert (family["users"], family["user_id"], family["is_new"]) == (1, "ada-now", True)
    failed = runs["failed"]
    step = (family["graph_exec_id"], family["node_exec_id"])
    assert step == (failed.run_id, failed.named("b"))
    [group] = [one for one in told["silent"] if one["block_id"] == "now-stuck"]
    assert (group["runs"], group["users"]) == (1, 1)
    assert group["graph_exec_id"] == runs["silent"].run_id


async def test_costs_and_errors(http: httpx.AsyncClient, runs: dict[str, Orders]) -> None:
    """By user, graph, block and day, and by hour: sums of steps, each in its day or hour."""

    def sums(one: Json) -> tuple[int, ...]:
        cost, ended, failed, days = (one[name] for name in ("cost", "ended", "failed", "days"))
        assert sum(days) == cost
        return cost, one["tokens"], ended, failed

    for by, expected in (
        ("user", {"ada-now": (7, 3, 2, 1), "bob-now": (14, 6, 4, 1)}),
        ("graph", {"now": (21, 9, 6, 2)}),
        ("block", {"now-a": (21, 9, 3, 0), "now-b": (0, 0, 3, 2)}),
    ):
        told = await get(http, "/v1/costs", by=by, days=2)
        found = {one["id"]: sums(one) for one in told["data"]}
        assert {name: found[name] for name in expected} == expected, by
        assert (len(told["days"]), told["total"]) == (2, sum(one["cost"] for one in told["data"]))
    days = (await get(http, "/v1/costs", by="day", days=31))["data"]
    users = (await get(http, "/v1/costs", by="user", days=31))["data"]
    assert sum(one["cost"] for one in days) == sum(one["cost"] for one in users)

    errors = await get(http, "/v1/errors")
    own = {
        one["error_class"]: (one["block_id"], one["graph_version"], one["failures"], one["runs"])
        for one in errors["data"]
        if one["graph_id"] == "now"
    }
    assert own == {"outage": ("now-b", 7, 1, 1), "other": ("now-b", 7, 1, 1)}
    assert all(sum(one["hours"]) == one["failures"] for one in errors["data"])
    assert len(errors["hours"]) == 24
    for wrong in ("?by=node", "?by=user&days=32", ""):
        assert (await http.get(f"/v1/costs{wrong}")).status_code == 422


async def test_reasons(http: httpx.AsyncClient, runs: dict[str, Orders]) -> None:
    """A run without a failed step has none."""
    asked = [run.run_id for run in runs.values()] + ["no id"]
    listed = (await get(http, "/v1/executions/reasons", graph_exec_id=asked))["data"]
    told = {one["graph_exec_id"]: (one["class"], one["block_id"], one["error"]) for one in listed}
    assert told == {
        runs["failed"].run_id: ("outage", "now-b", OUTAGE),
        runs["other"].run_id: ("other", "now-b", "no such column"),
    }


async def test_lists_by_failure_duration_cost_and_silence(
    http: httpx.AsyncClient, runs: dict[str, Orders]
) -> None:
    """Lists and counts agree; filters of a failure hold for the same one."""
    [reason] = (await get(http, "/v1/executions/reasons", graph_exec_id=runs["failed"].run_id))[
        "data"
    ]
    now = datetime.now(UTC)
    ago = {n: (now - timedelta(minutes=n)).isoformat() for n in (10, 60)}
    for expected, asked in (
        (["failed"], {"error_class": "outage"}),
        (["failed"], {"fingerprint": reason["fingerprint"], "block_id": "now-b"}),
        (["failed", "other"], {"block_id": "now-b"}),
        ([], {"error_class": "outage", "block_id": "now-a"}),
        (["failed", "other"], {"failed_time_gte": ago[60], "graph_version": 7}),
        (["good"], {"cost_gte": 900}),
        (["failed", "other", "good"], {"duration_gte": 59.5, "duration_lte": 60.5}),
        ([], {"duration_gte": 61}),
        (["failed", "other", "good"], {"ended_time_gte": ago[10]}),
        ([], {"ended_time_lte": ago[10]}),
        (["silent"], {"updated_time_lte": ago[10]}),
        (["failed", "good"], {"attribute": ["env=prod"]}),
        (["good"], {"attribute": ["env=prod", "team=a=b"]}),
        (["good"], {"attribute": ["team=a\x00=b"]}),
        ([], {"attribute": ["env=pro"]}),
    ):
        filters = {"graph_id": "now"} | asked
        listed = {one["id"] for one in (await get(http, "/v1/executions", **filters))["data"]}
        assert listed == {runs[name].run_id for name in expected}, asked
        assert (await get(http, "/v1/executions/counts", **filters))["total"] == len(expected)


@pytest.mark.parametrize("pair", ["env", "=prod", "e nv=prod"])
async def test_an_attribute_has_a_key(http: httpx.AsyncClient, pair: str) -> None:
    """Any other text is answered with the form of the parameter."""
    answer = await http.get("/v1/executions", params={"attribute": pair})
    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, "attribute")


async def test_a_list_of_the_past_has_attributes(
    http: httpx.AsyncClient, runs: dict[str, Orders]
) -> None:
    """They never change."""
    then = {"as_of": datetime.now(UTC).isoformat(), "attribute": ["env=prod"]}
    listed = (await get(http, "/v1/executions", **then))["data"]
    assert {(one["id"], one["attributes"]["env"]) for one in listed} == {
        (runs[name].run_id, "prod") for name in ("failed", "good")
    }


async def test_a_list_of_the_past_has_fewer_filters(http: httpx.AsyncClient) -> None:
    """Errors and costs of then are not known: 422 names the parameter."""
    moment = datetime.now(UTC).isoformat()
    answer = await http.get("/v1/executions", params={"as_of": moment, "cost_gte": 1})
    assert answer.status_code == 422
    assert [one["name"] for one in answer.json()["errors"]] == ["cost_gte"]


async def test_graphs(http: httpx.AsyncClient, runs: dict[str, Orders]) -> None:
    """By version, with the users of their runs; of one graph the nodes, most failures first."""
    [graph] = [one for one in await _graphs(http) if one["graph_id"] == "now"]
    [version] = graph["versions"]
    assert (version["graph_version"], version["ended"], version["failed"]) == (7, 3, 2)
    assert (version["p50"], version["cost"], version["users"]) == (60, 900, 2)
    assert [sum(one[n] for one in graph["minutes"]) for n in (1, 2)] == [3, 2]
    one = await get(http, "/v1/graph", graph_id="now")
    assert one["versions"] == graph["versions"]
    nodes = [(node["node_id"], node["ended"], node["failed"]) for node in one["nodes"]]
    assert nodes == [("b", 3, 2), ("a", 3, 0)]
    assert one["nodes"][0]["mean"] == 60_000
    assert (await http.get("/v1/graph", params={"graph_id": "none"})).status_code == 404


async def _graphs(http: httpx.AsyncClient) -> list[Json]:
    listed: list[Json] = (await get(http, "/v1/graphs/figures"))["data"]
    return listed
