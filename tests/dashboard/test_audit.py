"""The audit of acts by HTTP: author, origin, subject and outcome of each, and nothing of reads."""

import httpx
import pytest

from execstream import ExecutionClient
from execstream.storage.access.http_tokens import TokenScope, create_token
from tests.dashboard.raising import raised
from tests.dashboard.serving import site
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


async def _acts(http: httpx.AsyncClient, **asked: str | int) -> list[dict[str, str]]:
    data: list[dict[str, str]] = (await http.get("/v1/audit", params=asked)).json()["data"]
    return data


async def test_acts_are_listed(place: Installation, sender: ExecutionClient) -> None:
    """Commands of a bound token, an alert and a token, newest first; refused requests and reads are
    not among them.
    """
    run = Orders(user_id="ada")
    await place.put([run.create()])
    await place.drained()
    alert = await raised(place.db, "block")
    own, _ = await create_token(place.db, "of-ada", [TokenScope.WRITE], "x", user_id="ada")
    whole, _ = await create_token(place.db, "whole", list(TokenScope), "x")
    start = {"type": "graph.start", "user_id": "ada", "graph_exec_id": run.run_id}
    async with site(place.settings, sender, whole) as http:
        headers = {"Authorization": f"Bearer {own}", "X-Forwarded-For": "203.0.113.7"}
        wait = {"Prefer": "wait=20"}
        for more in (wait, {}):
            answer = await http.post("/v1/commands", json=start, headers=headers | more)
            assert answer.is_success
        assert (await http.get("/v1/executions", headers=headers)).status_code == 403
        assert (await http.get("/v1/executions")).status_code == 200
        silenced = await http.post(f"/v1/alerts/{alert.id}/silence", json={"minutes": 5})
        assert silenced.status_code == 200
        assert (await http.post("/v1/alerts/99999/silence", json={"minutes": 5})).is_error
        assert (await http.post("/v1/tokens/revoke", json={"name": "of-ada"})).is_success

        told = [
            tuple(one[name] for name in ("actor", "user_id", "act", "subject", "outcome"))
            for one in await _acts(http)
        ]
        assert told == [
            ("whole", None, "token.revoke", "of-ada", "done"),
            ("whole", None, "alert.silence", str(alert.id), "done"),
            ("of-ada", "ada", "graph.start", run.run_id, "sent"),
            ("of-ada", "ada", "graph.start", run.run_id, "applied"),
        ]
        origins = [one["origin"] for one in await _acts(http)]
        assert origins == ["127.0.0.1"] * 2 + ["127.0.0.1 for 203.0.113.7"] * 2
        assert len(await _acts(http, actor="of-ada")) == 2
        assert len(await _acts(http, subject=run.run_id, act="graph.start", limit=1)) == 1
        first = (await http.get("/v1/audit", params={"limit": 3})).json()
        rest = await _acts(http, limit=3, cursor=first["next_cursor"])
        assert [one["outcome"] for one in rest] == ["applied"]
        assert (await http.get("/v1/audit?cursor=x")).status_code == 400


async def test_an_act_that_cannot_be_written(
    place: Installation, sender: ExecutionClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is that of the act, which is done, and the log has the act."""
    alert = await raised(place.db, "another")
    await place.db.execute("delete from token")
    await place.db.execute("alter table audit rename to away")
    try:
        async with site(place.settings, sender) as http:
            answer = await http.post(f"/v1/alerts/{alert.id}/silence", json={"minutes": 5})
    finally:
        await place.db.execute("alter table away rename to audit")
    assert answer.status_code == 200
    said = capsys.readouterr().out
    assert "not_audited" in said
    assert f"subject={alert.id}" in said
