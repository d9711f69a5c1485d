"""Strict tenancy: for a token bound to a user, Postgres itself shows no row of others.

The server's own filters are taken away at their only source, so what remains is row security.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import asyncpg
import httpx
import pytest

from execstream import ExecutionClient
from execstream.config.settings import Settings
from execstream.dashboard import access
from execstream.dashboard.own_rows import OwnRows
from execstream.devstack import Addresses
from execstream.storage.connections import READ, connection, open_pool
from execstream.storage.schema.migrate import migrate
from execstream.storage.schema.roles import VIEWED, Role
from execstream.storage.schema.row_security import (
    POLICIES,
    NotSecured,
    require_row_security,
    unsecured,
)
from tests.agents.tallied import counted
from tests.dashboard.serving import SECRET, serving
from tests.dashboard.sse import Subscription
from tests.orders import Order, Orders
from tests.recovery.lived import drop, replayed
from tests.storage.logins import logins
from tests.whole.doctoring import complaint, complaints, settings_of
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

ADA, BOB = "ada-tenancy", "bob-tenancy"
EVERYBODY = "a-secret-for-everything"
CANARY = "canary-of-bob"  # in every field of Bob's that a producer fills in
TOLD = re.compile(f"{CANARY}|{BOB}")


@pytest.fixture(scope="module")
async def users(place: Installation, stack: Addresses) -> AsyncIterator[dict[Role, str]]:
    """Users of each role, on a schema with row security."""
    schema = place.settings.schema_
    await migrate(stack.postgres_dsn, schema, with_roles=True, with_row_security=True)
    async with logins(stack.postgres_dsn, schema) as addresses:
        yield dict(addresses)


@pytest.fixture(scope="module")
async def runs(place: Installation) -> tuple[Orders, Orders]:
    """Runs of two users with values, errors, children and refusals, and everything counted."""
    tally = await place.start_worker("tally")
    ada, bob = Orders(user_id=ADA), Orders(user_id=BOB)
    child = Orders(user_id=BOB)
    for orders, graph in ((ada, "graph-of-ada"), (bob, CANARY)):
        await place.db.execute("insert into graph values ($1, 1, $1) on conflict do nothing", graph)
        await place.put(_life(orders, graph))
    await place.put([child.create(graph_id=CANARY, parent_graph_exec_id=bob.run_id)])
    await place.put([bob.raw(f'"{CANARY}"'.encode())])
    await place.drained()
    await counted(place)
    await tally.stop()
    return ada, bob


def _life(orders: Orders, value: str) -> list[Order]:
    """A run of which every kind of row tells `value`."""
    failed = {"error": value, "cost": 1}
    return [
        orders.create(orders.node("n", inputs={"a": value}), graph_id=value, inputs={"a": value}),
        orders.start(),
        orders.start(),  # is refused
        orders.move_step("n", "RUNNING"),
        orders.emit("n", data=value),
        orders.move_step("n", "FAILED", stats=failed),
        orders.move("FAILED", stats=failed),
        orders.keep(value, value),
        orders.keep(value, value, at="2020-01-01T00:00:00Z"),  # is refused
    ]


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server restricts no read to an owner by itself."""
    monkeypatch.setattr(access.Viewer, "user_id", None)


@asynccontextmanager
async def served(
    place: Installation, sender: ExecutionClient, dsn: str, tenancy: str
) -> AsyncIterator[str]:
    """The URL of a server for Ada's token and one for everybody."""
    settings: Settings = place.settings_with(
        postgres_dsn=dsn, tenancy=tenancy, http_token=f"{EVERYBODY},{SECRET}={ADA}"
    )
    async with serving(settings, sender) as server:
        yield server.url


async def _told(url: str, secret: str, bob: Orders) -> dict[str, str]:
    """Bob's data in the answers of every route that reads, by route; asked for his things by id."""
    ids = {
        "graph_exec_id": bob.run_id,
        "key": bob.run_id,
        "command_id": bob.named("command/1"),
        "block_id": "block",
        "graph_id": CANARY,
        "table": "blocks",
        "user_id": BOB,
    }
    told = {}
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            if "get" not in methods or path == "/v1/stream":  # which has no end
                continue
            asked = re.sub("{(.*?)}", lambda name: ids.get(name[1], "nothing"), path)
            names = {one["name"] for one in methods["get"].get("parameters", ())}
            for query in ({}, {name: ids[name] for name in names & ids.keys()}):
                answer = await http.get(asked, params=query)
                assert answer.status_code < 500, (path, query, answer.text)
                # What was asked for is repeated: "There is no run …".
                if answer.is_success and TOLD.search(answer.text):
                    told[f"{path}?{sorted(query)}"] = answer.text
    return told


@pytest.mark.slow
@pytest.mark.usefixtures("unfiltered")
async def test_no_route_shows_a_foreign_row(
    place: Installation,
    sender: ExecutionClient,
    users: dict[Role, str],
    runs: tuple[Orders, Orders],
) -> None:
    """Without the filters of the server a bound token gets no row of others from any route, and its
    own ones; the same without row security shows that there is something to be seen.
    """
    ada, bob = runs
    async with served(place, sender, users[Role.SERVER], "strict") as url:
        assert await _told(url, SECRET, bob) == {}
        assert len(await _told(url, EVERYBODY, bob)) > 10
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
            listed = (await http.get("/v1/executions")).json()["data"]
            assert {one["user_id"] for one in listed} == {ADA}
            for part in ("", "/nodes", "/journal", "/children"):
                assert (await http.get(f"/v1/executions/{ada.run_id}{part}")).status_code == 200
            whole = (await http.get(f"/v1/executions/{ada.run_id}/journal")).json()["data"]
            assert len(whole) == whole[-1]["seq"]
            assert [one["graph_id"] for one in (await http.get("/v1/graphs")).json()["data"]] == [
                "graph-of-ada"
            ]
            refused = (await http.get("/v1/refusals")).json()["data"]
            assert {one["user_id"] for one in refused} == {ADA}
    async with served(place, sender, users[Role.SERVER], "off") as url:
        leaks = await _told(url, SECRET, bob)
        assert len(leaks) > 5, leaks.keys()


@pytest.mark.usefixtures("unfiltered")
async def test_no_stream_shows_a_foreign_row(
    place: Installation,
    sender: ExecutionClient,
    users: dict[Role, str],
    runs: tuple[Orders, Orders],
) -> None:
    """Neither the snapshot, nor events that are caught up with, nor live ones; a foreign run has no
    stream.
    """
    _, bob = runs
    async with served(place, sender, users[Role.SERVER], "strict") as url:
        async with Subscription(url, secret=SECRET, user_id=BOB) as stream:
            begun = await stream.next("snapshot")
            assert {one["user_id"] for one in begun.data["data"]} == {ADA}
            later = Orders(user_id=BOB), Orders(user_id=ADA)
            await place.put([one.create(graph_id="another") for one in later])
            live = await stream.events(1)
        async with Subscription(url, begun.id, SECRET) as stream:
            caught_up = await stream.events(1)
        for [event] in (live, caught_up):
            assert (event["user_id"], event["graph_exec_id"]) == (ADA, later[1].run_id)
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            foreign = await http.get(f"/v1/stream?graph_exec_id={bob.run_id}")
            assert foreign.status_code == 404


async def test_a_transaction_leaves_nothing_behind(
    place: Installation, users: dict[Role, str], runs: tuple[Orders, Orders]
) -> None:
    """Role and user end with the transaction, after an error too; a statement without any condition
    sees own rows of every table, and none without a user.
    """
    assert runs

    asking = SimpleNamespace(bound_to=ADA)
    schema = place.settings.schema_
    pool = await open_pool(users[Role.SERVER], schema, READ, size=1)
    own = OwnRows(pool, asking)
    left = "select current_user || coalesce(current_setting('execstream.viewed_user', true), '')"
    try:
        before = await pool.fetchval(left)
        for table in VIEWED:
            shown = await own.fetch(f'select t::text from "{table.name}" t')
            assert not TOLD.search(" ".join(row[0] for row in shown)), table.name
            everything = await pool.fetchval(f'select count(*) from "{table.name}"')
            if table in POLICIES and everything:
                assert len(shown) < everything, table.name
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.fetch("select * from alert")
        with pytest.raises(asyncpg.PostgresError):
            await own.execute("delete from journal")
        assert await pool.fetchval(left) == before
        asking.bound_to = ""
        assert await own.fetch("select from graph_execution") == []
    finally:
        await pool.close()


async def test_what_is_lacking_is_told(
    place: Installation, users: dict[Role, str], stack: Addresses
) -> None:
    """A server does not start on a schema without row security, nor as a user that may not take the
    place of a viewer.
    """
    schema, other = place.settings.schema_, f"{place.settings.schema_}_z"
    await migrate(stack.postgres_dsn, other)
    try:
        async with connection(users[Role.SERVER], schema, READ) as server:
            await require_row_security(server, schema)
            with pytest.raises(NotSecured, match="execstream migrate"):
                await require_row_security(server, other)
        strict = settings_of(place).model_copy(update={"tenancy": "strict"})
        assert await complaints(strict, "postgres") == []
        found = await complaint(strict.model_copy(update={"schema_": other}), "postgres")
        assert (found.check, "graph_execution" in found.found) == ("tenancy", True)
        async with connection(users[Role.WORKER], schema, READ) as worker:
            with pytest.raises(NotSecured, match="execstream_server"):
                await require_row_security(worker, schema)
    finally:
        await drop(place.db, other)


async def test_a_rebuilt_schema_is_secured_at_its_swap(
    place: Installation, users: dict[Role, str], runs: tuple[Orders, Orders]
) -> None:
    """Rows come into it by COPY, which row security refuses, before."""
    assert runs
    assert users
    schema = f"{place.settings.schema_}_new"
    assert (await replayed(place, schema, swapping=True)).swapped
    try:
        async with connection(users[Role.SERVER], place.settings.schema_, READ) as server:
            assert await unsecured(server, place.settings.schema_) == []
    finally:
        await drop(place.db, schema)
