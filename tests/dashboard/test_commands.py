"""Commands over HTTP: sent at once, with or without waiting, and their outcomes."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from execstream import ExecutionClient
from tests.dashboard.serving import site
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

WAIT = {"Prefer": "wait=10"}


def command(orders: Orders, type_: str, **fields: Any) -> dict[str, Any]:
    """A command as a person would write it: without id and time."""
    about = {"type": type_, "user_id": orders.user_id, "graph_exec_id": orders.run_id}
    return about | fields


def creation(orders: Orders) -> dict[str, Any]:
    return command(orders, "graph.create", graph_id="graph", graph_version=1, starting_nodes=[])


async def test_a_command_that_is_waited_for(http: httpx.AsyncClient) -> None:
    """Its outcome is the answer; a refusal is one too."""
    orders = Orders()
    created = await http.post("/v1/commands", json=creation(orders), headers=WAIT)
    assert (created.status_code, created.headers["Preference-Applied"]) == (200, "wait=10")
    assert (created.json()["outcome"], created.json()["seq"]) == ("applied", [1, 1])

    move = command(orders, "graph.update", status="COMPLETED")
    refused = await http.post("/v1/commands", json=move, headers=WAIT)
    assert refused.status_code == 200
    assert (refused.json()["outcome"], refused.json()["reason"]) == (
        "refused",
        "illegal_transition",
    )
    assert refused.json()["detail"]["found"] == "INCOMPLETE"


async def test_a_command_whose_outcome_is_asked_for_later(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """The answer comes when Kafka has it, and names where the outcome will be."""
    orders = Orders()
    for sent, outcome in (
        (creation(orders), "applied"),
        (command(orders, "graph.update", status="COMPLETED"), "refused"),
        (
            {
                "type": "kv.set",
                "user_id": "a|b",
                "key": "k",
                "data": 1,
                "node_exec_id": orders.named("kv"),
            },
            "applied",
        ),
    ):
        answer = await http.post("/v1/commands", json=sent)
        assert (answer.status_code, answer.json()["outcome"]) == (202, "pending")
        await place.drained()
        told = await http.get(answer.headers["Location"])
        assert told.status_code == 200
        assert told.json()["outcome"] == outcome
        assert told.json()["command_id"] == answer.json()["command_id"]


@pytest.mark.parametrize("user_id", [".", "..", "a|b:c@d"])
async def test_outcomes_of_a_user_with_any_name(
    http: httpx.AsyncClient, place: Installation, user_id: str
) -> None:
    """`Location` leads to the outcome where no path would."""
    kept = {"type": "kv.set", "user_id": user_id, "key": "k", "data": 1}
    answer = await http.post("/v1/commands", json=kept | {"node_exec_id": str(uuid4())})
    assert answer.status_code == 202, answer.text
    await place.drained()
    told = await http.get(answer.headers["Location"])
    assert (told.status_code, told.json()["outcome"]) == (200, "applied")


async def test_outcomes_that_are_not_known(http: httpx.AsyncClient) -> None:
    """With a position that no worker has reached it is pending; without one it is unknown."""
    orders = Orders()
    path = f"/v1/commands/{orders.run_id}/{orders.named('x')}"
    assert (await http.get(path)).status_code == 404
    pending = await http.get(path, params={"partition": 0, "offset": 10**9})
    assert (pending.status_code, pending.json()["outcome"]) == (202, "pending")
    assert pending.headers["Retry-After"] == "1"


async def test_values_arrive_as_they_were_sent(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """Numbers beyond a double, and text in any script."""
    orders = Orders()
    body = json.dumps(creation(orders), ensure_ascii=False)
    body = body[:-1] + ', "inputs": {"n": 12345678901234567890.123, "t": "né \\u0001"}}'
    answer = await http.post(
        "/v1/commands",
        content=body.encode(),
        headers=WAIT | {"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.json()["outcome"] == "applied", answer.text
    stored = await place.db.fetchval(
        "select inputs::text from graph_execution where id = $1", orders.run_id
    )
    assert json.loads(stored, parse_float=str) == {"n": "12345678901234567890.123", "t": "né "}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no json", "not_json"),
        (b"[]", "not_an_object"),
        (b"{}", "unknown_type"),
        (b'{"type":"graph.start","user_id":7}', "invalid_field"),
        (b'{"type":"graph.start","user_id":"a","graph_exec_id":"x"}', "invalid_field"),
        (b'{"type":["graph.start"]}', "unknown_type"),
        (b'{"x":' + b"[" * 1_100 + b"]" * 1_100 + b"}", "too_deep"),
        (b"[" * 1_100 + b"]" * 1_100, "too_deep"),
        (b'{"\xff":1}', "not_json"),
        (b'{"type":"graph.start","user_id":"\xff"}', "not_json"),
    ],
)
async def test_what_would_become_a_dead_letter(
    http: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    """It is rejected at once, and nothing is sent."""
    answer = await http.post(
        "/v1/commands", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (422, reason)


async def test_bodies_that_are_not_taken(place: Installation, sender: ExecutionClient) -> None:
    """Larger than a command may be; or as a foreign page could send them."""
    orders = Orders()
    async with site(place.settings_with(max_command_bytes=2_000), sender) as http:
        large = command(orders, "graph.start", note="x" * 2_000)
        answer = await http.post("/v1/commands", json=large)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            answer = await http.post("/v1/commands", content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == 415
