"""Access: tokens, tokens of one user, loopback only without any, and share links."""

import re
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import product
from typing import Any

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard.access import Token, parse_tokens
from execstream.dashboard.server import PortTaken, Server, TokenMissing
from tests.dashboard.serving import SECRET, serving, site
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

ADA, BOB = "ada-access", "bob-access"
PATHS_OF_A_RUN = ("", "/nodes", "/children", "/journal")
# Who is answered by each route. Each has a row, or a test fails.
FOR_ALL = {"/livez", "/readyz", "/problems/{code}", "/v1/shared/{token}"}
FOR_USERS = {
    "/v1/me",
    "/v1/executions",
    "/v1/executions/counts",
    "/v1/executions/step_counts",
    "/v1/executions/reasons",
    "/v1/executions/actions",
    *(f"/v1/executions/{{graph_exec_id}}{part}" for part in PATHS_OF_A_RUN),
    *("/v1/blocks", "/v1/graphs", "/v1/refusals", "/v1/stream"),
    *("/v1/command", "/v1/commands", "/v1/commands/{key}/{command_id}"),
}
FOR_OPERATORS = {
    *("/v1/alerts", "/v1/alerts/{alert_id}/acknowledge", "/v1/alerts/{alert_id}/silence"),
    *("/v1/block", "/v1/block/steps", "/v1/blocks/{block_id}", "/v1/blocks/{block_id}/steps"),
    *("/v1/blocks/errors", "/v1/blocks/live", "/v1/live/{table}"),
    *("/v1/dead-letters", "/v1/dead-letters/count", "/v1/dead-letters/redrive"),
    "/v1/dead-letters/{dead_letter_id}",
    *("/v1/dead-letters/{dead_letter_id}/redrive", "/v1/diagnostics", "/v1/hazards"),
    *("/v1/graph", "/v1/graphs/figures", "/v1/now", "/v1/completeness", "/v1/progress"),
    *("/v1/quarantine", "/v1/quarantine/{partition}/{offset}/release"),
    *("/v1/topics", "/v1/workers", "/metrics"),
}
WITHOUT_PARAMETERS = sorted(path for path in FOR_OPERATORS if "{" not in path)
NEED_A_QUESTION = {"/v1/block", "/v1/block/steps", "/v1/graph", "/v1/dead-letters/redrive"}
NOTHING_HERE = "There is nothing here."


@pytest.fixture(scope="module")
async def runs(place: Installation) -> tuple[Orders, Orders]:
    """A run of each of two users."""
    ada, bob = Orders(user_id=ADA), Orders(user_id=BOB)
    await place.put([ada.create(), bob.create(), bob.move("COMPLETED")])
    await place.drained()
    return ada, bob


@pytest.fixture(scope="module")
async def of_ada(place: Installation, sender: ExecutionClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a token that is bound to Ada."""
    settings = place.settings_with(http_token=f"another-of-the-tests,{SECRET}={ADA}")
    async with site(settings, sender, SECRET) as http:
        yield http


async def test_without_a_token_nobody_comes_in(of_ada: httpx.AsyncClient) -> None:
    """Nor is access given with a wrong one; routes without data of runs need none."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        answer = await of_ada.get("/v1/executions", headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        for path in ("/livez", "/readyz", "/openapi.json", "/"):
            assert (await of_ada.get(path, headers=headers)).status_code == 200


async def test_an_unbound_token_sees_everything(
    of_ada: httpx.AsyncClient, runs: tuple[Orders, Orders]
) -> None:
    """Both tokens are good for the same server."""
    everything = {"Authorization": "Bearer another-of-the-tests"}
    for one in runs:
        path = f"/v1/executions/{one.run_id}"
        assert (await of_ada.get(path, headers=everything)).status_code == 200
    for path in set(WITHOUT_PARAMETERS) - NEED_A_QUESTION:
        assert (await of_ada.get(path, headers=everything)).status_code == 200


async def test_a_bound_token_sees_its_user_only(
    of_ada: httpx.AsyncClient, runs: tuple[Orders, Orders]
) -> None:
    """Data of others does not exist, word for word like unknown ids."""
    ada, bob = runs
    listed = (await of_ada.get("/v1/executions")).json()["data"]
    assert {one["user_id"] for one in listed} == {ADA}
    assert (await of_ada.get("/v1/executions/counts")).json()["total"] == len(listed)
    assert (await of_ada.get("/v1/refusals")).json()["data"] == []
    for path in PATHS_OF_A_RUN:
        assert (await of_ada.get(f"/v1/executions/{ada.run_id}{path}")).status_code == 200
        foreign = await of_ada.get(f"/v1/executions/{bob.run_id}{path}")
        never = await of_ada.get(f"/v1/executions/{ada.named('never')}{path}")
        assert foreign.status_code == never.status_code == 404
        told = foreign.json()["detail"].replace(bob.run_id, ada.named("never"))
        assert told == never.json()["detail"]
    for path in (
        *WITHOUT_PARAMETERS,
        f"/v1/executions?user_id={BOB}",
        f"/v1/refusals?user_id={BOB}",
    ):
        assert (await of_ada.get(path)).status_code == 404
    me = (await of_ada.get("/v1/me")).json()
    assert me == {"user_id": ADA, "token_required": True}


async def test_a_bound_token_knows_the_graphs_of_its_user(
    of_ada: httpx.AsyncClient, runs: tuple[Orders, Orders], place: Installation
) -> None:
    """The versions that the user's runs are of are listed; names that others gave to theirs are
    not.
    """
    for graph_id, version in (("graph", 1), ("graph", 2), ("secret-of-bob", 1)):
        await place.db.execute("insert into graph values ($1, $2, $1)", graph_id, version)
    await place.put([Orders(user_id=BOB).create(graph_id="secret-of-bob")])
    await place.drained()
    everything = {"Authorization": "Bearer another-of-the-tests"}

    told, all_told = [
        [(one["graph_id"], one["graph_version"]) for one in answer.json()["data"]]
        for answer in (
            await of_ada.get("/v1/graphs"),
            await of_ada.get("/v1/graphs", headers=everything),
        )
    ]

    assert told == [("graph", 1)]
    assert all_told == [("graph", 2), ("graph", 1), ("secret-of-bob", 1)]


async def test_each_route_answers_those_whom_it_is_for(of_ada: httpx.AsyncClient) -> None:
    """Every route and method, with no token, a wrong one, a user's and everybody's."""
    paths = (await of_ada.get("/openapi.json")).json()["paths"]
    assert set(paths) == FOR_ALL | FOR_USERS | FOR_OPERATORS
    secrets = {"nobody": "", "stranger": "Bearer wrong", "user": f"Bearer {SECRET}"}
    secrets["operator"] = "Bearer another-of-the-tests"
    for path in sorted(set(paths) - {"/v1/stream"}):  # its answer has no end
        for method, (who, secret) in product(paths[path], secrets.items()):
            answer = await of_ada.request(
                *(method, re.sub("{.*?}", "nodes", path)),
                json={},
                headers={"Authorization": secret},
            )
            is_nobody = who in ("nobody", "stranger")
            assert (answer.status_code == 401) == (is_nobody and path not in FOR_ALL), (path, who)
            is_hidden = answer.status_code == 404 and NOTHING_HERE in answer.text
            assert is_hidden == (who == "user" and path in FOR_OPERATORS), (path, who)


async def test_a_bound_token_orders_for_its_user_only(
    of_ada: httpx.AsyncClient, runs: tuple[Orders, Orders]
) -> None:
    """Commands of others are not sent, and their outcomes are not returned."""
    _, bob = runs
    foreign = {"type": "graph.start", "user_id": BOB, "graph_exec_id": bob.run_id}
    assert (await of_ada.post("/v1/commands", json=foreign)).status_code == 404
    outcome = f"/v1/commands/{bob.run_id}/{bob.named('command/1')}"
    assert (await of_ada.get(outcome)).status_code == 404


async def test_only_loopback_without_a_token(place: Installation, sender: ExecutionClient) -> None:
    """Neither is another address listened at, nor another name answered to."""
    with pytest.raises(TokenMissing, match="EXECSTREAM_HTTP_TOKEN"):
        Server(place.settings, sender, "0.0.0.0", 0)  # noqa: S104 - it is refused
    async with site(place.settings, sender) as http:
        answer = await http.get("/v1/executions", headers={"Host": "evil.example"})
        assert answer.status_code == 421
        for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
            answer = await http.get("/v1/executions", headers={"Host": host})
            assert answer.status_code == 200


async def test_a_taken_port(place: Installation, sender: ExecutionClient) -> None:
    """The error names a way out."""
    async with serving(place.settings, sender) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(PortTaken, match="--port"):
            Server(place.settings, sender, "127.0.0.1", port)


async def test_share_links(of_ada: httpx.AsyncClient, place: Installation) -> None:
    """A holder of the link sees the outputs, without a token and until it is revoked."""
    token = "a-link-that-nobody-guesses"  # noqa: S105 - of the tests only
    orders = Orders(user_id=BOB)
    share = {"is_shared": True, "share_token_hash": sha256(token.encode()).hexdigest()}
    await place.put([orders.create(), orders.order("graph.share", **share)])
    await place.drained()
    nobody = {"Authorization": ""}
    answer = await of_ada.get(f"/v1/shared/{token}", headers=nobody)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert set(answer.json()) == {
        *("id", "graph_name", "graph_description", "status", "created_at", "outputs")
    }
    await place.put([orders.order("graph.share", is_shared=False)])
    await place.drained()
    assert (await of_ada.get(f"/v1/shared/{token}", headers=nobody)).status_code == 404


async def test_headers_of_every_answer(http: httpx.AsyncClient) -> None:
    """Nothing of others is loaded, nothing inline is run, nothing is framed or kept."""
    for path in ("/", "/v1/executions", "/v1/nonsense", "/livez"):
        headers = (await http.get(path)).headers
        policy: dict[str, Any] = dict(
            part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; ")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] in ("no-store", "private, no-cache")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


async def test_the_page_is_asked_for_again_cheaply(http: httpx.AsyncClient) -> None:
    """Files of the page have ETags."""
    answer = await http.get("/")
    again = await http.get("/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")


def test_tokens() -> None:
    """Several with commas between, each for everything or for one user."""
    assert parse_tokens("one,two=ada@b.c") == (Token("one"), Token("two", "ada@b.c"))
    assert parse_tokens("") == ()
    assert SECRET not in repr(Token(SECRET))
