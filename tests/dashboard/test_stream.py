"""The live feed: a snapshot, then every event once, through whatever happens to the connection."""

from typing import Any

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard.feed import stream
from execstream.dashboard.server import Server
from execstream.streams.imported import HEADERS
from tests.dashboard.serving import SECRET, serving
from tests.dashboard.sse import Subscription
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker", "bridge")


async def test_a_run_is_followed(server: Server, place: Installation) -> None:
    """First comes the run as it is, then its events, as its journal has them."""
    orders = Orders()
    await place.put([orders.create(orders.node("a")), orders.start()])
    await place.drained()

    async with Subscription(server.url, graph_exec_id=orders.run_id) as own:
        snapshot = await own.next()
        await place.put([orders.emit("a", data=[1.5, None]), orders.move_step("a", "RUNNING")])
        await place.put([orders.move_step("a", "COMPLETED", stats={"walltime": 2})])
        events = await own.events(3)

    assert (snapshot.event, snapshot.data["status"]) == ("snapshot", "RUNNING")
    assert [step["status"] for step in snapshot.data["node_executions"]] == ["QUEUED"]
    assert [event["seq"] for event in events] == [4, 5, 6]
    assert events == await journal_of(server, orders.run_id, after=3)
    assert events[0]["data"] == [1.5, None]
    assert (events[2]["was"], events[2]["status"]) == ("RUNNING", "COMPLETED")


async def test_who_comes_back_has_missed_nothing(server: Server, place: Installation) -> None:
    """With the last id, missed events come first, then live ones."""
    orders = Orders()
    await place.put([orders.create(orders.node("a"))])
    await place.drained()
    async with Subscription(server.url, graph_exec_id=orders.run_id) as first:
        await first.next("snapshot")
        await place.put([orders.start()])
        before = await first.events(1)
    await place.put([orders.emit("a", data=number) for number in range(700)])
    await place.drained()

    async with Subscription(server.url, first.last_id, graph_exec_id=orders.run_id) as second:
        missed = await second.events(700)
        await place.put([orders.move_step("a", "RUNNING")])
        after = await second.events(1)

    assert [event["seq"] for event in before + missed + after] == list(range(3, 705))


async def test_scopes(server: Server, place: Installation) -> None:
    """Streams of a user, of a graph and of all have the events of their scope, refusals and
    key-values too, and nothing else.
    """
    ada, bob = Orders(user_id="ada-of-scopes"), Orders(user_id="bob-of-scopes")
    async with (
        Subscription(server.url, user_id=ada.user_id) as of_user,
        Subscription(server.url, graph_id="graph-of-scopes") as of_graph,
        Subscription(server.url) as of_all,
    ):
        for one in (of_user, of_graph, of_all):
            assert (await one.next()).event == "snapshot"
        await place.put([bob.create(graph_id="graph-of-scopes"), bob.start()])
        await place.put([ada.create(graph_id="other"), ada.keep(), ada.move("COMPLETED")])
        await place.put([ada.start(), bob.move("COMPLETED")])
        told_user = await of_user.events(4)
        told_graph = await of_graph.events(3)
        told_all = await of_all.events(7)

    assert {event["user_id"] for event in told_user} == {ada.user_id}
    assert sorted(event["type"] for event in told_user) == [
        "command.refused",
        "graph.created",
        "graph.updated",
        "kv.changed",
    ]
    assert [event["seq"] for event in told_graph] == [1, 2, 3]
    assert {event["graph_id"] for event in told_graph} == {"graph-of-scopes"}
    assert sorted(map(source, told_all)) == sorted({*map(source, told_user + told_graph)})


async def test_imported_events_are_in_the_stream_of_their_run_only(
    server: Server, place: Installation
) -> None:
    """Live and from the journal; that of the user goes on with what is news."""
    orders = Orders(user_id="ada-of-imports")
    of_run, of_user = {"graph_exec_id": orders.run_id}, {"user_id": orders.user_id}
    await place.put([orders.create(orders.node("a"))])
    await place.drained()
    async with (
        Subscription(server.url, **of_run) as run,
        Subscription(server.url, **of_user) as user,
    ):
        begins = [await one.next("snapshot") for one in (run, user)]
        await place.put([orders.emit("a")._replace(headers=HEADERS), orders.start()])
        live = [await run.events(2), await user.events(1)]
    async with (
        Subscription(server.url, begins[0].id, **of_run) as run,
        Subscription(server.url, begins[1].id, **of_user) as user,
    ):
        told = [await run.events(2), await user.events(1)]

    assert live == told
    assert [[event["seq"] for event in events] for events in live] == [[3, 4], [4]]
    assert [event.get("imported") for event in live[0]] == ["past", None]


async def test_events_of_runs_only(server: Server, place: Installation) -> None:
    """Events of steps, refusals and key-values are left out, live and from the journal."""
    orders = Orders(user_id="ada-of-types")
    asked = {"user_id": orders.user_id, "types": "graph"}
    async with Subscription(server.url, **asked) as own:
        begin = await own.next("snapshot")
        await place.put([orders.create(orders.node("a")), orders.start(), orders.start()])
        await place.put([orders.keep(), orders.emit("a"), orders.move("FAILED")])
        live = await own.events(3)
    async with Subscription(server.url, begin.id, **asked) as again:
        told = await again.events(3)

    assert live == told
    kinds = [event["type"] for event in live]
    assert kinds == ["graph.created", "graph.updated", "graph.updated"]
    assert live[2]["status"] == "FAILED"


async def test_a_stream_of_a_user_resumes(server: Server, place: Installation) -> None:
    """Also streams over many runs go on where they were, with the events of theirs only."""
    ada, bob = Orders(user_id="ada-resumes"), Orders(user_id="bob-resumes")
    async with Subscription(server.url, user_id=ada.user_id) as first:
        await first.next("snapshot")
    await place.put([ada.create(), bob.create(), ada.start(), bob.start(), ada.keep()])
    await place.drained()

    async with Subscription(server.url, first.last_id, user_id=ada.user_id) as second:
        events = await second.events(3)
        await place.put([bob.move("COMPLETED"), ada.move("COMPLETED")])
        events += await second.events(1)

    of_run = [event for event in events if "seq" in event]
    assert [event["seq"] for event in of_run] == [1, 2, 3]
    assert {event["user_id"] for event in events} == {ada.user_id}


async def test_heartbeats(
    server: Server, place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is marked by frames, and moves the id on."""
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    orders, other = Orders(), Orders()
    await place.put([orders.create()])
    await place.drained()
    async with Subscription(server.url, graph_exec_id=orders.run_id) as own:
        begin = await own.next("snapshot")
        await place.put([other.create()])
        while (await own.next("heartbeat")).id == begin.id:
            pass


async def test_an_id_of_another_database(server: Server) -> None:
    """A position beyond everything is answered with a snapshot, after a `resync`."""
    async with Subscription(server.url, "0.99999999.0") as own:
        assert (await own.next()).data == {"reason": "unknown_cursor"}
        assert (await own.next()).event == "snapshot"


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({"graph_exec_id": "c0ffee00-0000-4000-8000-000000000000"}, {}, 404),
        ({"graph_exec_id": "nonsense"}, {}, 404),
        ({}, {"Last-Event-ID": "nonsense"}, 400),
        ({}, {"Last-Event-ID": "0.-1.0"}, 400),
        ({"types": "node"}, {}, 422),
    ],
)
async def test_what_cannot_be_streamed(
    http: httpx.AsyncClient, query: dict[str, str], headers: dict[str, str], status: int
) -> None:
    """Runs that there are not, and ids that no stream gave out."""
    answer = await http.get("/v1/stream", params=query, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_bound_token_streams_its_user_only(
    place: Installation, sender: ExecutionClient
) -> None:
    """Without a scope the stream is the user's; others do not exist."""
    ada, bob = Orders(user_id="ada-bound"), Orders(user_id="bob-bound")
    settings = place.settings_with(http_token=f"{SECRET}={ada.user_id}")
    async with serving(settings, sender) as server:
        async with Subscription(server.url, secret=SECRET) as own:
            await own.next("snapshot")
            await place.put([bob.create(), bob.start(), ada.create()])
            # Attempts of other users at our runs are theirs.
            await place.put([ada.start(user_id=bob.user_id), ada.start()])
            events = await own.events(2)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {SECRET}"}) as http:
            for foreign in ({"user_id": bob.user_id}, {"graph_exec_id": bob.run_id}):
                answer = await http.get(f"{server.url}/v1/stream", params=foreign)
                assert answer.status_code == 404
    assert [(event["user_id"], event.get("seq")) for event in events] == [
        (ada.user_id, 1),
        (ada.user_id, 2),
    ]


async def journal_of(server: Server, run_id: str, after: int = 0) -> list[Any]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get(f"/v1/executions/{run_id}/journal", params={"after": after})
    data: list[Any] = answer.raise_for_status().json()["data"]
    return data


def source(event: dict[str, Any]) -> tuple[int, ...]:
    return tuple(event["source"])
