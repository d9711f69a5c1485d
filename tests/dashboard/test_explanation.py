"""The story of a run over the API."""

import httpx
import pytest

from execstream.dashboard.routes import runs
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_run_is_explained(
    http: httpx.AsyncClient, place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sentences of `execstream explain`: the refused command and the dead record too, which
    count for the limit."""
    run = Orders()
    await place.put([run.create(run.node("a")), run.start(), run.move("INCOMPLETE"), run.raw(b"?")])
    await place.drained()
    path = f"/v1/executions/{run.run_id}/explanation"

    told = (await http.get(path)).json()

    assert "is RUNNING" in told["summary"]
    assert [line["outcome"] for line in told["lines"]] == ["applied", "applied", "refused", "dead"]
    assert "RUNNING" in told["lines"][1]["text"]
    monkeypatch.setattr(runs, "MOST_EXPLAINED", 3)
    answer = await http.get(path)
    assert answer.status_code == 422
    assert "execstream explain" in answer.json()["detail"]
