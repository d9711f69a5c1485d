"""Access: tokens, tokens of one user, loopback only without any, and share links."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from itertools import product
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from execstream import ExecutionClient
from execstream.dashboard.access import NoAccessNamed, Open, Read, check_access
from execstream.dashboard.feed.cursor import encode
from execstream.dashboard.known_tokens import tokens_of_settings
from execstream.dashboard.server import PortTaken, Server
from execstream.storage.access.http_tokens import (
    ALL_SCOPES,
    SCOPES_OF_USERS,
    HttpToken,
    TokenScope,
    create_token,
    hash_secret,
    mark_used,
)
from tests.dashboard.serving import PATIENCE, SECRET, serving, site
from tests.orders import Orders
from tests.worker import Installation, until

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
    "/v1/alerts/deliveries",
    *("/v1/alerts", "/v1/alerts/{alert_id}/acknowledge", "/v1/alerts/{alert_id}/silence"),
    *("/v1/block", "/v1/block/steps", "/v1/blocks/{block_id}", "/v1/blocks/{block_id}/steps"),
    *("/v1/blocks/errors", "/v1/blocks/live", "/v1/live/{table}"),
    *("/v1/dead-letters", "/v1/dead-letters/count", "/v1/dead-letters/redrive"),
    "/v1/dead-letters/{dead_letter_id}",
    *("/v1/dead-letters/{dead_letter_id}/redrive", "/v1/diagnostics", "/v1/hazards"),
    *(
        "/v1/graph",
        "/v1/graphs/figures",
        "/v1/now",
        "/v1/costs",
        "/v1/errors",
        "/v1/completeness",
        "/v1/progress",
    ),
    *("/v1/quarantine", "/v1/quarantine/{partition}/{offset}/release"),
    "/v1/executions/{graph_exec_id}/explanation",
    *("/v1/topics", "/v1/workers", "/metrics", "/v1/tokens", "/v1/tokens/revoke", "/v1/audit"),
}
# The scope that each route and method needs: `read`, where it has no row here.
SCOPES = {
    ("/v1/me", "get"): None,
    ("/v1/commands", "post"): "write",
    ("/v1/executions/actions", "post"): "write",
    ("/v1/dead-letters/redrive", "post"): "operate",
    ("/v1/alerts/{alert_id}/acknowledge", "post"): "operate",
    ("/v1/alerts/{alert_id}/silence", "post"): "operate",
    ("/v1/dead-letters/{dead_letter_id}/redrive", "post"): "operate",
    ("/v1/quarantine/{partition}/{offset}/release", "post"): "operate",
    ("/v1/audit", "get"): "admin",
    ("/v1/tokens", "get"): "admin",
    ("/v1/tokens/revoke", "post"): "admin",
}
WITHOUT_PARAMETERS = sorted(
    path for path in FOR_OPERATORS - {"/v1/tokens/revoke"} if "{" not in path
)
NEED_A_QUESTION = {
    "/v1/block",
    "/v1/block/steps",
    "/v1/graph",
    "/v1/costs",
    "/v1/dead-letters/redrive",
}
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
    assert me == {
        "user_id": ADA,
        "token_required": True,
        "name": "EXECSTREAM_HTTP_TOKEN:2",
        "scopes": ["read", "write"],
    }


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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_each_route_needs_its_scope(
    of_ada: httpx.AsyncClient, place: Installation, sender: ExecutionClient
) -> None:
    """Every route and method, with a token of each scope alone, over all users and of one."""
    paths = (await of_ada.get("/openapi.json")).json()["paths"]
    secrets = {
        (scope, user): (
            await create_token(place.db, f"{scope}-{user}", [scope], "x", user_id=user)
        )[0]
        for scope, user in product(TokenScope, (None, ADA))
        if user is None or scope in SCOPES_OF_USERS
    }
    async with site(place.settings, sender) as http:
        for path in sorted(set(paths) - FOR_ALL - {"/v1/stream"}):  # its answer has no end
            for method, ((scope, user), secret) in product(paths[path], secrets.items()):
                answer = await http.request(
                    *(method, re.sub("{.*?}", "nodes", path)),
                    json={},
                    headers={"Authorization": f"Bearer {secret}"},
                )
                needed = SCOPES.get((path, method), "read")
                assert paths[path][method].get("x-scope") == needed
                is_hidden = user is not None and path in FOR_OPERATORS
                is_lacking = needed not in (None, scope) and not is_hidden
                assert (answer.status_code == 403) == is_lacking, (path, scope, user, answer.text)
                assert not is_lacking or f"the scope {needed}" in answer.text
                assert (NOTHING_HERE in answer.text) == is_hidden, (path, scope, user)


def test_a_route_without_access() -> None:
    """A route that names no access is refused, and one that names two."""
    router = APIRouter()
    for dependencies in ([], [Read, Open]):
        router.routes.clear()
        router.add_api_route("/v1/new", test_tokens, dependencies=dependencies)
        with pytest.raises(NoAccessNamed, match="/v1/new"):
            check_access(router.routes)


async def test_a_bound_token_orders_for_its_user_only(
    of_ada: httpx.AsyncClient, runs: tuple[Orders, Orders]
) -> None:
    """Commands of others are not sent, and their outcomes are not returned."""
    _, bob = runs
    foreign = {"type": "graph.start", "user_id": BOB, "graph_exec_id": bob.run_id}
    assert (await of_ada.post("/v1/commands", json=foreign)).status_code == 404
    outcome = f"/v1/commands/{bob.run_id}/{bob.named('command/1')}"
    assert (await of_ada.get(outcome)).status_code == 404


async def test_a_foreign_run_does_not_exist_for_writes(
    of_ada: httpx.AsyncClient, place: Installation, runs: tuple[Orders, Orders]
) -> None:
    """Outcome, refusals and feed have of a foreign run word for word what they have of none."""
    ada, bob = runs
    never = ada.named("never-made")
    told: dict[str, list[str]] = {}
    for run_id in (bob.run_id, never):
        command = {"type": "graph.start", "user_id": ADA, "graph_exec_id": run_id}
        answer = (
            await of_ada.post("/v1/commands", json=command, headers={"Prefer": "wait=20"})
        ).json()
        command_id = answer["command_id"]
        again = await of_ada.get(f"/v1/commands/{run_id}/{command_id}")
        asked = {"graph_exec_id": run_id, "reason": "unknown_graph_execution"}
        [listed] = (await of_ada.get("/v1/refusals", params=asked)).json()["data"]
        sent = await _refused_events(of_ada, command_id)
        del listed["source"], listed["at"]
        told[run_id] = [
            one.replace(run_id, "RUN").replace(command_id, "COMMAND")
            for one in (str(answer), str(again.json()), str(listed), *sent)
        ]
    assert told[bob.run_id] == told[never]
    assert len(told[never]) == 4
    owned = {"user_id": ADA, "graph_exec_id": bob.run_id}
    made = Orders(run_id=bob.run_id, user_id=ADA).create()
    new = json.loads(made.value or b"") | owned
    answer = await of_ada.post("/v1/commands", json=new, headers={"Prefer": "wait=20"})
    assert answer.json()["reason"] == "already_exists"
    everything = {"Authorization": "Bearer another-of-the-tests"}
    asked = {"graph_exec_id": bob.run_id, "reason": "wrong_owner"}
    assert (await of_ada.get("/v1/refusals", params=asked)).json()["data"] == []
    shown = await of_ada.get("/v1/refusals", params=asked, headers=everything)
    assert len(shown.json()["data"]) == 2


async def _refused_events(of_ada: httpx.AsyncClient, command_id: str) -> list[str]:
    """The event of a refusal, as the stream of all that is the user's has it from its beginning."""
    beginning = encode(dict.fromkeys(range(8), (0, 0)))
    headers = {"Last-Event-ID": beginning}
    async with of_ada.stream("GET", "/v1/stream", headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and command_id in line:
                event = json.loads(line.removeprefix("data: "))
                return [str((event["reason"], event["detail"], event["command_type"]))]
    return []


async def test_a_token_of_the_table(place: Installation, sender: ExecutionClient) -> None:
    """It works soon after it was made and not after it was revoked, without a restart; an open
    stream ends with it; and the server, which was open, stays closed.
    """
    await place.db.execute("delete from token")
    async with site(place.settings, sender) as http:
        assert (await http.get("/v1/me")).json()["token_required"] is False
        secret, token = await create_token(place.db, "soon", [TokenScope.READ], "me")
        headers = {"Authorization": f"Bearer {secret}"}
        await until(lambda: _is_answered(http, {}, 401))
        me = await http.get("/v1/me", headers=headers)
        assert me.json() == {
            "user_id": None,
            "token_required": True,
            "name": "soon",
            "scopes": ["read"],
        }
        assert (await http.get("/v1/executions", headers=headers)).status_code == 200
        with pytest.raises(httpx.HTTPError):  # noqa: PT012 - the stream breaks off
            async with http.stream("GET", "/v1/stream", headers=headers) as stream:
                await place.db.execute("update token set revoked_at = now()")
                async for _ in stream.aiter_lines():
                    pass
        assert await _is_answered(http, headers, 401)
        assert await _is_answered(http, {}, 401)
    assert await place.db.fetchval("select last_used_at from token where id = $1", token.id)


async def test_tokens_by_http(of_ada: httpx.AsyncClient, place: Installation) -> None:
    """A list without secrets and hashes; and a token is revoked once."""
    secret, _ = await create_token(place.db, "to-revoke", [TokenScope.READ], "me")
    headers = {"Authorization": "Bearer another-of-the-tests"}
    answers = [
        await of_ada.post("/v1/tokens/revoke", json={"name": "to-revoke"}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 404]
    listed = await of_ada.get("/v1/tokens", headers=headers)
    [shown] = [one for one in listed.json()["data"] if one["name"] == "to-revoke"]
    assert shown["revoked_at"] is not None
    assert secret not in listed.text
    assert hash_secret(secret) not in listed.text


async def test_an_expired_token(place: Installation, sender: ExecutionClient) -> None:
    """It is refused from its expiry on."""
    secret, _ = await create_token(
        *(place.db, "brief", [TokenScope.READ], "me"), lifetime=timedelta(seconds=4)
    )
    headers = {"Authorization": f"Bearer {secret}"}
    async with site(place.settings, sender) as http:
        assert await _is_answered(http, headers, 200)
        await until(lambda: _is_answered(http, headers, 401))


async def _is_answered(http: httpx.AsyncClient, headers: dict[str, str], status: int) -> bool:
    try:
        return (await http.get("/v1/executions", headers=headers)).status_code == status
    except httpx.RemoteProtocolError:  # the token has just ended, and the request with it
        return False


async def test_the_last_use_is_written_once_a_minute(place: Installation) -> None:
    """However often it is used."""
    _, token = await create_token(place.db, "often", [TokenScope.READ], "me")
    uses = []
    for _ in range(2):
        await mark_used(place.db, [token.id])
        uses.append(
            await place.db.fetchval("select last_used_at from token where id = $1", token.id)
        )
    assert uses[0] == uses[1] is not None


async def test_only_loopback_without_a_token(place: Installation, sender: ExecutionClient) -> None:
    """Beyond loopback nobody is answered, whatever name the request has; nor is another name."""
    await place.db.execute("delete from token")
    server = Server(place.settings, sender, "0.0.0.0", 0)  # noqa: S104 - for nobody
    running = asyncio.create_task(server.run())
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        assert await _is_answered(http, {"Host": "localhost"}, 401)
    server.stop()
    await running
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
    """Several with commas between, each for everything or for one user; by their hashes."""
    tokens = tokens_of_settings("one,two=ada@b.c")
    assert tokens == {
        hash_secret("one"): HttpToken("EXECSTREAM_HTTP_TOKEN:1", ALL_SCOPES),
        hash_secret("two"): HttpToken("EXECSTREAM_HTTP_TOKEN:2", SCOPES_OF_USERS, "ada@b.c"),
    }
    assert tokens_of_settings("") == {}
