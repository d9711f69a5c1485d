"""Runs over the API: lists, one run, steps, children, journal, and unchanged answers."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from execstream.streams.topics import CATALOGUE
from tests.orders import Orders
from tests.worker import Installation, until

pytestmark = pytest.mark.usefixtures("worker")

Json = Any
DIGITS = b"234567890123456789012345"  # more than a double holds


@pytest.fixture(scope="module")
async def run(place: Installation) -> Orders:
    """A run with three steps: one COMPLETED, two QUEUED."""
    orders = Orders(user_id="ada-reads")
    nodes = [orders.node(name, inputs={"in": 2}) for name in "abc"]
    life = [
        orders.create(*nodes, graph_id="graph-reads", inputs={"question": 0.1}),
        orders.start(),
        orders.move_step("a", "RUNNING"),
        orders.emit("a", data={"answer": 42}),
        orders.move_step("a", "COMPLETED", stats={"walltime": 1.5}),
        orders.move("QUEUED"),
    ]
    long = (life[0].value or b"").replace(b'"question":0.1', b'"question":0.1' + DIGITS)
    life[0] = life[0]._replace(value=long)
    await place.put(life)
    await place.drained()
    return orders


async def get(http: httpx.AsyncClient, path: str, **parameters: Json) -> Json:
    answer = await http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_pages_of_runs(http: httpx.AsyncClient, place: Installation) -> None:
    """Newest first, each run once, whatever the size of a page; filters hold together."""
    runs = [Orders(user_id="ada-pages") for _ in range(5)]
    for age, one in enumerate(runs):
        one.sent = age
        await place.put([one.create(graph_id=f"pages-{age % 2}"), one.start()])
    await place.drained()
    seen, cursor = [], None
    while True:
        page = await get(
            http,
            "/v1/executions",
            user_id="ada-pages",
            limit=2,
            **({"cursor": cursor} if cursor else {}),
        )
        seen += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [one.run_id for one in reversed(runs)]

    filtered = {"user_id": "ada-pages", "graph_id": "pages-0", "status": ["RUNNING", "FAILED"]}
    assert len((await get(http, "/v1/executions", **filtered))["data"]) == 3
    counted = await get(http, "/v1/executions/counts", user_id="ada-pages")
    assert (counted["total"], counted["counts"]["RUNNING"]) == (5, 5)
    assert len(counted["counts"]) == 7


async def test_a_list_without_values(http: httpx.AsyncClient, run: Orders) -> None:
    """The inputs of runs, which may be large, are there unless they are left out on request."""
    for values in (True, False):
        for moment in ({}, {"as_of": datetime.now(UTC).isoformat()}):
            filters = {"user_id": "ada-reads", "graph_id": "graph-reads", "values": values}
            [found] = (await get(http, "/v1/executions", **filters, **moment))["data"]
            assert found["id"] == run.run_id
            assert (found["inputs"] is not None) == values


async def test_one_run(http: httpx.AsyncClient, run: Orders) -> None:
    """The whole run with its steps, numbers as they were sent, and an ETag that holds."""
    path = f"/v1/executions/{run.run_id}"
    answer = await http.get(path)
    found = answer.json()
    assert found["status"] == "RUNNING"
    assert sorted(step["status"] for step in found["node_executions"]) == [
        "COMPLETED",
        "QUEUED",
        "QUEUED",
    ]
    assert b'{"question": 0.1' + DIGITS in answer.content
    etag = answer.headers["ETag"]
    again = await http.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)


async def test_etags_change(http: httpx.AsyncClient, place: Installation) -> None:
    """Changes since then are sent."""
    orders = Orders()
    await place.put([orders.create()])
    await place.drained()
    path = f"/v1/executions/{orders.run_id}"
    etag = (await http.get(path)).headers["ETag"]
    await place.put([orders.start()])
    await place.drained()
    answer = await http.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.json()["status"]) == (200, "RUNNING")


async def test_etags_change_with_the_catalogue(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """The kind of a block determines the outputs of a run."""
    orders = Orders()
    answer = {"name": "answer", "value": 42}
    output = orders.node("out", block_id="told-later", inputs=answer)
    await place.put([orders.create(output, at="2025-12-01T00:00:00Z")])
    await place.drained()
    path = f"/v1/executions/{orders.run_id}"
    before = await http.get(path)
    assert before.json()["outputs"] == {}
    block = {"block_id": "told-later", "name": "Output", "block_type": "OUTPUT"}
    await place.producer.send_and_wait(
        place.topic(CATALOGUE.name),
        json.dumps({"type": "block.define"} | block).encode(),
        b"block:told-later",
    )

    async def is_known() -> Any:
        return await place.db.fetchval("select id from block where id = 'told-later'")

    await until(is_known)

    after = await http.get(path, headers={"If-None-Match": before.headers["ETag"]})

    assert (after.status_code, after.json()["outputs"]) == (200, {"answer": [42]})


async def test_pages_of_steps(http: httpx.AsyncClient, run: Orders) -> None:
    """In the order of their creation, filtered, and without values if that is wished for."""
    path = f"/v1/executions/{run.run_id}/nodes"
    first = await get(http, path, limit=2)
    rest = await get(http, path, limit=2, cursor=first["next_cursor"])
    assert [step["node_id"] for step in first["data"] + rest["data"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None
    [done] = (await get(http, path, status="COMPLETED"))["data"]
    assert done["output_data"] == {"out": [{"answer": 42}]}
    [bare] = (await get(http, path, node_id="a", values="false"))["data"]
    assert (bare["input_data"], bare["output_data"], bare["stats"]["walltime"]) == ({}, {}, 1.5)


async def test_pages_of_the_journal(http: httpx.AsyncClient, run: Orders) -> None:
    """All entries as events, in order; a full page has an ETag of its own."""
    path = f"/v1/executions/{run.run_id}/journal"
    events: list[Json] = []
    page: Json = {"next_cursor": "0"}
    while page["next_cursor"] is not None:
        page = await get(http, path, after=page["next_cursor"], limit=4)
        events += page["data"]
    assert [event["seq"] for event in events] == list(range(1, 12))
    assert [event["type"] for event in events[:2]] == ["graph.created", "node.added"]
    assert all(event["user_id"] == run.user_id for event in events)
    tags = [
        (await http.get(path, params={"after": start, "limit": 4})).headers["ETag"]
        for start in (0, 4, 8)
    ]
    assert len(set(tags)) == 3


async def test_the_journal_is_what_was_published(
    http: httpx.AsyncClient, run: Orders, place: Installation
) -> None:
    """It has the events of the topic, entry by entry, number by number."""
    answer = await http.get(f"/v1/executions/{run.run_id}/journal")
    told = json.loads(answer.content, parse_float=Decimal)["data"]
    published = [
        json.loads(record.value or b"", parse_float=Decimal)
        for records in (await place.events()).values()
        for record in records
        if record.key == run.run_id.encode()
    ]
    assert told == [event for event in published if "seq" in event]


async def test_children(http: httpx.AsyncClient, run: Orders, place: Installation) -> None:
    """Only children of the same owner are listed, whichever run they name as a parent."""
    child, foreign = Orders(user_id=run.user_id), Orders(user_id="bob-reads")
    await place.put([one.create(parent_graph_exec_id=run.run_id) for one in (child, foreign)])
    await place.drained()
    page = await get(http, f"/v1/executions/{run.run_id}/children")
    assert [one["id"] for one in page["data"]] == [child.run_id]


async def test_refusals(http: httpx.AsyncClient, run: Orders) -> None:
    """With their reason, by run and by reason."""
    [refusal] = (await get(http, "/v1/refusals", graph_exec_id=run.run_id))["data"]
    assert (refusal["reason"], refusal["detail"]["found"]) == ("illegal_transition", "RUNNING")
    nothing = await get(http, "/v1/refusals", graph_exec_id=run.run_id, reason="deleted")
    assert nothing["data"] == []


async def test_dead_letters(http: httpx.AsyncClient, place: Installation) -> None:
    """Paged, newest first; one of them with its bytes as text."""
    orders = Orders()
    await place.put([orders.raw(b"no json \xff"), orders.raw(b"[]"), orders.raw(None)])
    await place.drained()
    first = await get(http, "/v1/dead-letters", limit=2)
    rest = await get(http, "/v1/dead-letters", limit=2, cursor=first["next_cursor"])
    letters = first["data"] + rest["data"]
    assert sorted(one["reason"] for one in letters) == ["not_an_object", "not_json", "not_json"]
    [strange] = [one for one in letters if one["bytes"] == 9]
    told = await get(http, f"/v1/dead-letters/{strange['id']}")
    assert (told["value"], told["key"], told["headers"]) == ("no json \ufffd", orders.run_id, [])


async def test_dead_letters_by_what_they_are(http: httpx.AsyncClient, place: Installation) -> None:
    """By reason and time, and whether they were redriven; a redriven one names its origin."""
    orders = Orders()
    await place.put([orders.raw(b"{}")])
    await place.drained()
    [first] = (await get(http, "/v1/dead-letters", reason="unknown_type"))["data"]
    assert (await http.post(f"/v1/dead-letters/{first['id']}/redrive", json={})).is_success
    await place.drained()

    async def found(**filters: Any) -> list[str]:
        told = await get(http, "/v1/dead-letters", reason="unknown_type", **filters)
        return [one["id"] for one in told["data"]]

    assert await found(redriven=True) == [first["id"]]
    [second] = await found(redriven=False)
    told = await get(http, f"/v1/dead-letters/{second}")
    assert told["redriven_from"] == first["id"]
    assert ["redriven_from", first["id"]] in told["headers"]
    assert await found(until=first["received_at"]) == []
    assert await found(since=first["received_at"]) == [second, first["id"]]


async def test_deleted_runs_are_not_there(http: httpx.AsyncClient, place: Installation) -> None:
    """They are gone after a soft and a hard deletion."""
    for hard in (False, True):
        orders = Orders(user_id="ada-deleted")
        await place.put([orders.create(), orders.order("graph.delete", hard=hard)])
        await place.drained()
        for path in ("", "/nodes", "/children", "/journal"):
            answer = await http.get(f"/v1/executions/{orders.run_id}{path}")
            assert answer.status_code == 404
    assert (await get(http, "/v1/executions", user_id="ada-deleted"))["data"] == []


async def test_figures(http: httpx.AsyncClient, run: Orders) -> None:
    """Errors by block, diagnostics and progress have the promised shapes."""
    assert run.sent
    since = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z", "min_executions": 1}
    [block] = (await get(http, "/v1/blocks/errors", **since))["data"]
    assert (block["block_id"], block["failed_executions"], block["error_rate"]) == ("block", 0, 0)
    assert (await get(http, "/v1/diagnostics"))["running"] >= 1
    progress = (await get(http, "/v1/progress"))["data"]
    assert sum(one["applied"] for one in progress) >= run.sent - 1
    assert all(one["lag"] == one["end_offset"] - one["next_offset"] for one in progress)


async def test_times_at_the_ends_of_the_calendar(http: httpx.AsyncClient, run: Orders) -> None:
    """Every time parameter takes the first and the last moment of UTC; a time that lies beyond
    them, by its zone or as the default that follows from it, is a wrong parameter."""
    paths = (await http.get("/openapi.json")).json()["paths"]
    places = [
        (path, parameter["name"])
        for path, operations in paths.items()
        for parameter in operations.get("get", {}).get("parameters", ())
        if "date-time" in str(parameter["schema"])
    ]
    assert len(places) == 25
    needed = {"/v1/executions/actions": {"action": "terminate"}}
    for path, name in places:
        for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
            is_without_a_day_before = name == "end" and time.startswith("0001")
            answer = await http.get(path, params={name: time, **needed.get(path, {})})
            assert answer.status_code == (422 if is_without_a_day_before else 200), answer.text
        for time in ("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"):
            answer = await http.get(path, params={name: time, **needed.get(path, {})})
            assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, name)
            one = await http.get(f"/v1/executions/{run.run_id}", params={"as_of": time})
            assert one.status_code == 422
    first = {"start": "0001-01-01T00:00:00Z", "end": "0001-01-01T12:00:00Z"}
    assert await get(http, "/v1/blocks/errors", **first)
    alone = await http.get("/v1/blocks/errors", params={"end": first["end"]})
    assert (alone.status_code, alone.json()["errors"][0]["name"]) == (422, "end")


async def test_credentials_come_back_as_they_were_sent(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """No field is dropped and none is added, in a list, in a run and in its past."""
    sent = {
        "mail": {
            "id": "c1",
            "provider": "google",
            "type": "oauth2",
            "title": "Work",
            "scopes": ["mail.read"],
            "expires_at": 1772346600,
            "long": 10**30,
        },
        "bare": {"id": "c2", "provider": "github", "type": "api_key"},
        "other": {"id": 3, "kind": "of its own"},
    }
    orders = Orders(user_id="ada-credentials")
    await place.put([orders.create(credential_inputs=sent)])
    await place.drained()

    [listed] = (await get(http, "/v1/executions", user_id=orders.user_id))["data"]
    path = f"/v1/executions/{orders.run_id}"
    for run in (listed, await get(http, path), await get(http, path, as_of="1")):
        assert run["credential_inputs"] == sent


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/executions?limit=0", 422),
        ("/v1/executions?limit=251", 422),
        ("/v1/executions?status=DONE", 422),
        ("/v1/executions?cursor=nonsense", 400),
        ("/v1/executions?user_id=%00", 400),
        ("/v1/executions?created_time_gte=2026-01-01T00:00:00", 422),
        ("/v1/executions/nonsense", 404),
        ("/v1/executions/c0ffee00-0000-4000-8000-000000000000", 404),
        ("/v1/refusals?cursor=nonsense", 400),
        ("/v1/dead-letters/nonsense", 404),
        ("/v1/blocks/nonsense", 404),
        ("/v1/block?block_id=nonsense", 404),
        ("/v1/block", 422),
        ("/v1/command?key=nonsense", 422),
        ("/v1/shared/nonsense", 404),
        ("/v1/nonsense", 404),
        ("/nonsense.js", 404),
    ],
)
async def test_problems(http: httpx.AsyncClient, path: str, status: int) -> None:
    """Each fault is a problem, in a sentence."""
    answer = await http.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def test_methods_that_there_are_not(http: httpx.AsyncClient) -> None:
    """They are a problem too."""
    answer = await http.delete("/v1/executions")
    assert (answer.status_code, answer.json()["title"]) == (405, "Method Not Allowed")


async def test_large_answers_are_compressed(http: httpx.AsyncClient, place: Installation) -> None:
    """JSON and files of the page, for those who take gzip; small answers and the feed never."""
    run = Orders()
    await place.put([run.create(run.node("a", inputs={"text": "again and " * 1_000}))])
    await place.drained()
    path = f"/v1/executions/{run.run_id}"

    for large in (path, "/app.js"):
        packed = await http.get(large, headers={"Accept-Encoding": "gzip"})
        plain = await http.get(large, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert "Content-Encoding" not in plain.headers
        assert packed.content == plain.content
        tag = packed.headers["ETag"]
        assert tag == f"W/{plain.headers['ETag'].removeprefix('W/')}"
        again = await http.get(large, headers={"If-None-Match": tag})
        assert again.status_code == 304
    small = await http.get("/livez", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers
    async with http.stream("GET", "/v1/stream", headers={"Accept-Encoding": "gzip"}) as feed:
        assert "Content-Encoding" not in feed.headers
