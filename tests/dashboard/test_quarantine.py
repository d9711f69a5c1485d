"""The quarantine over HTTP: a client that gets the outcome, and an operator who releases."""

import httpx
import pytest

from execstream import CommandQuarantined, ExecutionClient
from tests.agents.faulty import break_run, mend
from tests.dashboard.serving import SECRET, site
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_run_is_set_aside_and_released(
    http: httpx.AsyncClient, place: Installation, sender: ExecutionClient
) -> None:
    """The sender gets the outcome `quarantined`, and later commands of the run wait; a release
    applies all of them, and the outcome is another one.
    """
    orders = Orders()
    await break_run(place.db, orders.run_id)
    created = orders.command("graph.create", graph_id="g", graph_version=1, starting_nodes=[])

    posted = await http.post("/v1/commands", json=created, headers={"Prefer": "wait=20"})
    with pytest.raises(CommandQuarantined) as waits:
        await sender.update_graph_execution_start_time(orders.run_id, user_id=orders.user_id)

    told = posted.json()
    assert (told["outcome"], told["reason"], told["detail"]["tries"]) == ("quarantined", "fault", 3)
    assert (waits.value.reason, list(waits.value.detail)) == ("parked", ["behind"])
    path = f"/v1/commands/{orders.run_id}/{created['id']}"
    assert (await http.get(path)).json()["outcome"] == "quarantined"
    [held] = (await http.get("/v1/quarantine")).json()["data"]
    named = (held["key"], held["waiting"], held["command_id"])
    assert named == (orders.run_id, 1, created["id"])
    assert "planted" in held["detail"]["error"]

    await mend(place.db)
    release = f"/v1/quarantine/{held['partition']}/{held['offset']}/release"
    released = await http.post(release, json={"action": "retry"})
    assert (released.status_code, released.json()["copies"]) == (202, 2)
    await place.drained()

    assert (await http.get(path)).json()["outcome"] == "applied"
    assert (await http.get(f"/v1/executions/{orders.run_id}")).json()["status"] == "RUNNING"
    assert (await http.get("/v1/quarantine")).json()["data"] == []
    assert (await http.post(release, json={"action": "retry"})).status_code == 404


async def test_users_see_no_quarantine(place: Installation, sender: ExecutionClient) -> None:
    """Keys and errors are those of all users, so a token that is bound to one gets 404."""
    settings = place.settings_with(http_token=f"{SECRET}=ada")
    async with site(settings, sender, SECRET) as as_user:
        listed = await as_user.get("/v1/quarantine")
        released = await as_user.post("/v1/quarantine/0/0/release", json={"action": "skip"})
    assert (listed.status_code, released.status_code) == (404, 404)
