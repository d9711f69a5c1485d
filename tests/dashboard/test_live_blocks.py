"""Current figures of blocks: from steps that end to the figures of the page."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from execstream import ExecutionClient
from execstream.dashboard.reads import live_blocks
from execstream.dashboard.reads.block_steps import MOST_ERROR
from tests.dashboard.serving import site
from tests.orders import Orders
from tests.worker import Installation, Worker, until

pytestmark = pytest.mark.usefixtures("worker")

BLOCK = "block-live"


@pytest.fixture(scope="module")
async def tally(place: Installation) -> AsyncIterator[Worker]:
    """A worker that counts, for as long as the module runs."""
    running = await place.start_worker("tally")
    yield running
    await running.stop()


async def test_figures_of_a_block(
    place: Installation, sender: ExecutionClient, tally: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that end are in their windows, with durations, errors and the steps themselves."""
    for name in ("RECENT_FOR", "DURATIONS_FOR", "PAST_FOR"):
        monkeypatch.setattr(live_blocks, name, 0.0)
    async with site(place.settings, sender) as http:
        await end_steps(place, minutes_ago=0, completed=3, failed=1)
        await end_steps(place, minutes_ago=90, completed=1, failed=1)
        await end_steps(place, minutes_ago=300, completed=2, failed=0)

        async def counted() -> Any:
            assert tally.is_alive, tally.log()[-5:]
            answer = await http.get(f"/v1/blocks/{BLOCK}")
            told = answer.json()
            return told if answer.is_success and told["windows"]["24h"]["ended"] == 8 else None

        block = await until(counted)

        listed = (await http.get("/v1/blocks/live")).json()["data"]
        failed = (await http.get(f"/v1/blocks/{BLOCK}/steps", params={"status": "FAILED"})).json()

    windows = block["windows"]
    none = {"ended": 0, "failed": 0, "caller_failed": 0, "cascaded": 0, "skewed": 0}
    assert windows["5m"]["before"] == none
    assert (windows["5m"]["ended"], windows["5m"]["error_rate"]) == (4, 25.0)
    assert windows["1h"]["before"] == none | {"ended": 2, "failed": 1}
    assert (windows["24h"]["failed"], windows["24h"]["before"]["ended"]) == (2, 0)
    assert len(block["minutes"]) == 60
    assert sum(ended for _, ended, _ in block["minutes"]) == 4
    assert block["duration_ms"]["p50"] == pytest.approx(1_000, rel=0.02)
    [error] = block["fingerprints"]
    assert (error["count"], error["class"]) == (2, "quota")
    assert [one["block_id"] for one in listed] == [BLOCK]
    assert listed[0]["windows"] == windows
    assert [step["error"] for step in failed["data"]] == ["429 Too Many Requests"] * 2
    assert failed["data"][0]["graph_exec_id"] == error["graph_exec_id"]


async def test_whose_failure_it_is(
    http: httpx.AsyncClient, place: Installation, tally: Worker
) -> None:
    """Steps that the end of their run ended are beside all figures; one that failed with its child
    names that, and is no failure; one by the caller's input has a rate of its own. The answer has
    the beginning of its long error.
    """
    block_id, child = "block-blamed", str(uuid4())
    failing = {"error": "its run failed", "child_graph_exec_id": child}
    orders = Orders()
    names = ["a", "b", "c", "d"]
    now = {"at": datetime.now(UTC).isoformat()}
    nodes = [orders.node(name, block_id=block_id) for name in names]
    await place.put([orders.create(*nodes, **now), orders.start(**now)])
    await place.put([orders.move_steps(names, "RUNNING", **now)])
    await place.put([orders.move_step("a", "FAILED", stats=failing, **now)])
    long = {"error": "invalid url" + 5_000 * "x"}
    await place.put([orders.move_step("b", "FAILED", stats=long, **now)])
    await place.put([orders.move("TERMINATED", **now)])

    async def counted() -> Any:
        assert tally.is_alive, tally.log()[-5:]
        answer = await http.get("/v1/block", params={"block_id": block_id})
        told = answer.json() if answer.is_success else None
        return told if told and told["windows"]["24h"]["cascaded"] == 2 else None

    block = await until(counted)
    failed = await http.get("/v1/block/steps", params={"block_id": block_id, "status": "FAILED"})
    asked = {"graph_exec_id": [orders.run_id, str(uuid4()), "none"]}
    steps = await http.get("/v1/executions/step_counts", params=asked)

    window = block["windows"]["1h"]
    assert (window["ended"], window["failed"], window["caller_failed"]) == (2, 1, 1)
    assert (window["error_rate"], window["caller_error_rate"]) == (50.0, 50.0)
    assert {one["class"] for one in block["fingerprints"]} == {"child", "input"}
    assert [step["child_graph_exec_id"] for step in failed.json()["data"]].count(child) == 1
    assert max(len(step["error"]) for step in failed.json()["data"]) == MOST_ERROR
    [counts] = steps.json()["data"]
    assert counts == {
        "graph_exec_id": orders.run_id,
        "steps": 4,
        "ended": 2,
        "failed": 2,
        "cascaded": 2,
        "is_complete": True,
    }


@pytest.mark.parametrize("block_id", ["live", "errors", "steps", ".", "..", "a|b:c@d"])
async def test_a_block_with_any_id(
    http: httpx.AsyncClient, place: Installation, tally: Worker, block_id: str
) -> None:
    """An id that is a word of the API, or that no path can hold, is given as a parameter."""
    await end_steps(place, minutes_ago=0, completed=1, failed=1, block_id=block_id)

    async def counted() -> Any:
        assert tally.is_alive, tally.log()[-5:]
        answer = await http.get("/v1/block", params={"block_id": block_id})
        return answer.json() if answer.is_success else None

    block = await until(counted)
    failed = await http.get("/v1/block/steps", params={"block_id": block_id, "status": "FAILED"})

    assert (block["block_id"], block["windows"]["1h"]["failed"]) == (block_id, 1)
    assert len(block["fingerprints"]) == 1
    [step] = failed.json()["data"]
    assert step["graph_exec_id"] == block["fingerprints"][0]["graph_exec_id"]


async def end_steps(
    place: Installation, minutes_ago: int, completed: int, failed: int, block_id: str = BLOCK
) -> None:
    """A run with steps, a second long each, that ended then."""
    orders = Orders(user_id="ada-live")
    then = datetime.now(UTC) - timedelta(minutes=minutes_ago, seconds=2)
    begin, end = then.isoformat(), (then + timedelta(seconds=1)).isoformat()
    moves: list[tuple[str, dict[str, str]]] = [("COMPLETED", {})] * completed
    moves += [("FAILED", {"error": "429 Too Many Requests"})] * failed
    names = [str(number) for number in range(len(moves))]
    nodes = [orders.node(name, block_id=block_id) for name in names]
    await place.put([orders.create(*nodes, at=begin)])
    for name, (status, stats) in zip(names, moves, strict=True):
        await place.put([orders.move_step(name, "RUNNING", at=begin)])
        await place.put([orders.move_step(name, status, at=end, stats=stats)])


async def test_nothing_is_known_of_it(http: httpx.AsyncClient) -> None:
    """A block of which no step has ended."""
    assert (await http.get("/v1/blocks/nonsense")).status_code == 404
    assert (await http.get("/v1/blocks/nonsense/steps")).json()["data"] == []
