"""Alerts over HTTP: lists, acts of operators, access, and the live feed."""

from uuid import uuid4

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard.server import Server
from execstream.streams.totals.alert_rules import Kind, Severity
from tests.dashboard.raising import closed, raised
from tests.dashboard.serving import SECRET, site
from tests.dashboard.sse import Subscription
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture(autouse=True)
async def none_yet(place: Installation) -> None:
    """Each test begins without alerts."""
    await place.db.execute("truncate alert cascade")


async def test_open_ones_come_first(place: Installation, http: httpx.AsyncClient) -> None:
    """The newest of each first, page by page; or only those."""
    alerts = [await raised(place.db, f"block-{number}") for number in range(4)]
    await closed(place.db, alerts[3])
    await closed(place.db, alerts[0])

    seen: list[str] = []
    cursor = None
    for _ in range(4):
        query = {"limit": 1} | ({} if cursor is None else {"cursor": cursor})
        page = (await http.get("/v1/alerts", params=query)).json()
        seen += [alert["block_id"] for alert in page["data"]]
        cursor = page["next_cursor"]

    assert seen == ["block-2", "block-1", "block-3", "block-0"]
    assert cursor is None
    for is_open, count in (("true", 2), ("false", 2)):
        page = (await http.get("/v1/alerts", params={"open": is_open})).json()
        assert [alert["closed_at"] is None for alert in page["data"]] == [is_open == "true"] * count
    assert (await http.get("/v1/alerts", params={"cursor": "bm8"})).status_code == 400


async def test_open_ones_are_metrics(place: Installation, http: httpx.AsyncClient) -> None:
    """Each kind and severity has a number, which falls when alerts close."""

    async def shown() -> dict[str, str]:
        lines = (await http.get("/metrics")).text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("execstream_open_"))

    warnings = 'execstream_open_alerts{kind="failing",severity="warning"}'
    alerts = [await raised(place.db, f"block-{number}") for number in range(2)]
    both = await shown()
    await closed(place.db, alerts[0])

    assert both.pop(warnings) == "2.0"
    assert set(both.values()) == {"0.0"}
    assert len(both) == len(Kind) * len(Severity) - 1
    assert (await shown())[warnings] == "1.0"


async def test_they_are_acknowledged_and_silenced(
    place: Installation, http: httpx.AsyncClient
) -> None:
    """The response is the alert as it then stands; the first acknowledgement counts."""
    alert = await raised(place.db, "block")
    path = f"/v1/alerts/{alert.id}"

    first = (await http.post(f"{path}/acknowledge", json={"by": "ada"})).json()
    second = (await http.post(f"{path}/acknowledge", json={"by": "bob"})).json()
    silent = (await http.post(f"{path}/silence", json={"minutes": 60})).json()

    assert first["acknowledged_by"] == "ada"
    assert second == first
    assert silent["silenced_until"] > silent["opened_at"]
    assert silent["title"] == "10 of 20 steps failed within 2 minutes"
    assert (await http.get("/v1/alerts")).json()["data"] == [silent]


async def test_what_is_no_request_is_not_taken(
    place: Installation, http: httpx.AsyncClient
) -> None:
    """Unknown ids, wrong spans, and requests that a foreign page could send are rejected."""
    alert = await raised(place.db, "block")
    path = f"/v1/alerts/{alert.id}/silence"

    assert (await http.post("/v1/alerts/999999/silence", json={"minutes": 1})).status_code == 404
    assert (await http.post("/v1/alerts/0/silence", json={"minutes": 1})).status_code == 422
    for minutes in (0, 10**9, "soon"):
        assert (await http.post(path, json={"minutes": minutes})).status_code == 422
    plain = {"Content-Type": "text/plain"}
    assert (await http.post(path, content='{"minutes": 5}', headers=plain)).status_code == 415
    assert (await http.post(path, json={"minutes": 5, "why": "x" * 5_000})).status_code == 413


async def test_a_user_sees_none(place: Installation, sender: ExecutionClient) -> None:
    """They are about everybody's runs together."""
    alert = await raised(place.db, "block")
    settings = place.settings_with(http_token=f"{SECRET}=ada")
    async with site(settings, sender, SECRET) as http:
        assert (await http.get("/v1/alerts")).status_code == 404
        answer = await http.post(f"/v1/alerts/{alert.id}/acknowledge", json={})
        assert answer.status_code == 404


async def test_the_feed_tells_of_them_between_events(place: Installation, server: Server) -> None:
    """Streams of everything only; a stream that comes back with the frame's id misses no event."""
    orders = Orders(user_id=f"user-{uuid4().hex[:8]}")
    async with (
        Subscription(server.url) as everything,
        Subscription(server.url, user_id=orders.user_id) as of_user,
    ):
        await everything.next("snapshot")
        await of_user.next("snapshot")
        await place.put([orders.create()])
        await everything.events(1)
        alert = await raised(place.db, "block")
        told = await everything.next("alert")
        await place.put([orders.start()])
        assert (await of_user.next("event", "alert")).data["type"] == "graph.created"
        assert (await of_user.next("event", "alert")).data["type"] == "graph.updated"
    async with Subscription(server.url, last_id=told.id) as back:
        event = (await back.next("event")).data

    assert (told.data["type"], told.data["alert"]["id"]) == ("alert.opened", alert.id)
    assert event["type"] == "graph.updated"
