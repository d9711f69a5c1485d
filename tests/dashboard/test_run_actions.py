"""Actions on many runs, and many dead letters put back, over HTTP."""

from typing import Any

import httpx
import pytest

from execstream import ExecutionClient
from tests.dashboard.serving import SECRET, site
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

ACTIONS = "/v1/executions/actions"


async def count(http: httpx.AsyncClient, action: str, **filters: Any) -> int:
    answer = await http.get(ACTIONS, params={"action": action, **filters})
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["runs"]
    return found


async def act(http: httpx.AsyncClient, action: str, **filters: Any) -> dict[str, Any]:
    answer = await http.post(ACTIONS, params=filters, json={"action": action})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def status_of(place: Installation, orders: Orders) -> str | None:
    status: str | None = await place.db.fetchval(
        "select status from graph_execution where id = $1 and not is_deleted", orders.run_id
    )
    return status


async def test_runs_are_terminated_resumed_and_deleted_page_by_page(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """Each run that the action is for, once, with its outcome; no other run."""
    graph = {"graph_id": "bulk"}
    running = [Orders() for _ in range(3)]
    done, other = Orders(), Orders()
    for orders in (*running, done):
        await place.put([orders.create(**graph), orders.start()])
    await place.put([done.move("COMPLETED"), other.create(graph_id="another"), other.start()])
    await place.drained()
    assert await count(http, "terminate", **graph) == 3
    assert await count(http, "resume", **graph) == 0

    first = await act(http, "terminate", **graph, limit=2)
    rest = await act(http, "terminate", **graph, limit=2, cursor=first["next_cursor"])

    outcomes = {one["graph_exec_id"]: one["outcome"] for one in first["data"] + rest["data"]}
    assert outcomes == {orders.run_id: "applied" for orders in running}
    assert (len(first["data"]), rest["next_cursor"]) == (2, None)
    assert await count(http, "terminate", **graph) == 0
    assert await count(http, "resume", **graph, status="RUNNING") == 0

    resumed = await act(http, "resume", **graph)
    assert [one["outcome"] for one in resumed["data"]] == ["applied"] * 3
    assert {await status_of(place, orders) for orders in running} == {"QUEUED"}

    deleted = await act(http, "delete", **graph, status=["QUEUED", "COMPLETED"])
    assert [one["outcome"] for one in deleted["data"]] == ["applied"] * 4
    assert {await status_of(place, orders) for orders in (*running, done)} == {None}
    assert await status_of(place, other) == "RUNNING"


async def test_an_action_needs_a_filter(http: httpx.AsyncClient) -> None:
    """All runs of all owners are never meant."""
    counted = await http.get(ACTIONS, params={"action": "delete"})
    acted = await http.post(ACTIONS, json={"action": "delete"})
    assert [counted.status_code, acted.status_code] == [422, 422]
    assert "filter" in acted.json()["detail"]


async def test_a_token_of_a_user_acts_on_runs_of_that_user(
    place: Installation, sender: ExecutionClient
) -> None:
    """Runs of others do not exist for it."""
    own, foreign = Orders(user_id="ada-acts"), Orders(user_id="bob-acts")
    await place.put([own.create(graph_id="acts"), foreign.create(graph_id="acts")])
    await place.drained()
    settings = place.settings_with(http_token=f"{SECRET}=ada-acts")
    async with site(settings, sender, SECRET) as of_ada:
        page = await act(of_ada, "delete", graph_id="acts")
        refused = await of_ada.post(
            ACTIONS, params={"user_id": "bob-acts"}, json={"action": "delete"}
        )
    assert [one["graph_exec_id"] for one in page["data"]] == [own.run_id]
    assert refused.status_code == 404
    assert await status_of(place, foreign) == "INCOMPLETE"


async def test_dead_letters_are_redriven_with_their_outcomes(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """Commands from a foreign partition reach their runs; those redriven before are left out."""
    runs = [Orders() for _ in range(2)]
    for orders in runs:
        created = orders.create()
        foreign = (place.partition_of(created) + 1) % 8
        await place.put([created])
        await place.drained()
        await place.put([orders.start()._replace(partition=foreign)])
    await place.drained()
    asked = {"reason": "wrong_partition"}
    counted = await http.get("/v1/dead-letters/count", params={**asked, "redriven": False})
    assert counted.json() == {"letters": 2}

    first = await http.post("/v1/dead-letters/redrive", params={**asked, "limit": 1}, json={})
    cursor = first.json()["next_cursor"]
    rest = await http.post("/v1/dead-letters/redrive", params={**asked, "cursor": cursor}, json={})

    told = first.json()["data"] + rest.json()["data"]
    assert [one["outcome"] for one in told] == ["applied"] * 2
    assert {await status_of(place, orders) for orders in runs} == {"RUNNING"}
    again = await http.post("/v1/dead-letters/redrive", params=asked, json={})
    assert again.json()["data"] == []
