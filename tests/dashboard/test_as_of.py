"""`?as_of=`: runs, steps and lists as they were, over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.dashboard.serving import SECRET, site
from tests.orders import DAWN, Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

Json = Any


def second(number: float) -> str:
    return f"{(DAWN + timedelta(seconds=number)).isoformat()[:-6]}Z"


@pytest.fixture(scope="module")
async def run(place: Installation) -> Orders:
    """A run whose step is RUNNING from second 3 to 5; it is over at second 6, at entry 7."""
    orders = Orders(user_id="ada-as-of")
    await place.put(
        [
            orders.create(orders.node("a"), graph_id="as-of"),
            orders.start(),
            orders.move_step("a", "RUNNING"),
            orders.emit("a", data="first"),
            orders.move_step("a", "COMPLETED"),
            orders.move("COMPLETED"),
        ]
    )
    await place.drained()
    return orders


async def get(http: httpx.AsyncClient, path: str, **parameters: Json) -> Json:
    answer = await http.get(f"/v1/executions{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("moment", [4, second(3), second(3.5)])
async def test_a_run_as_it_was(http: httpx.AsyncClient, run: Orders, moment: Json) -> None:
    """The moment is the number of an entry or a time, which stands for the last entry by then."""
    found = await get(http, f"/{run.run_id}", as_of=moment)
    [step] = found["node_executions"]
    assert (found["status"], found["ended_at"]) == ("RUNNING", None)
    assert (step["status"], step["end_time"], step["output_data"]) == ("RUNNING", None, {})


async def test_as_of_the_last_entry(http: httpx.AsyncClient, run: Orders) -> None:
    """The answer is the run now."""
    now = await get(http, f"/{run.run_id}")
    assert await get(http, f"/{run.run_id}", as_of=7) == now
    assert await get(http, f"/{run.run_id}", as_of="2199-01-01T00:00:00Z") == now


async def test_the_past_does_not_change(http: httpx.AsyncClient, run: Orders) -> None:
    """A client that has it already gets 304."""
    path, asked = f"/v1/executions/{run.run_id}", {"as_of": 4}
    etag = (await http.get(path, params=asked)).headers["ETag"]
    again = await http.get(path, params=asked, headers={"If-None-Match": etag})
    other = await http.get(path, params={"as_of": 5}, headers={"If-None-Match": etag})
    assert (again.status_code, other.status_code) == (304, 200)


async def test_steps_as_they_were(http: httpx.AsyncClient, run: Orders) -> None:
    """A page of them, by the status they had then."""
    path = f"/{run.run_id}/nodes"
    [step] = (await get(http, path, as_of=second(4), status="RUNNING"))["data"]
    assert (step["status"], step["output_data"]) == ("RUNNING", {"out": ["first"]})
    assert (await get(http, path, as_of=second(4), status="COMPLETED"))["data"] == []
    assert (await get(http, path, as_of=1))["data"] == []


async def test_what_was_running_then(http: httpx.AsyncClient, place: Installation) -> None:
    """Runs in the status they had, page by page; later runs are not there."""
    runs = [Orders(user_id="ada-running", sent=10 * number) for number in range(4)]
    for one in runs:
        await place.put([one.create(), one.start(), one.move("COMPLETED")])
    await place.drained()
    asked = {"user_id": "ada-running", "limit": 1}
    # The second is RUNNING at second 12; the first is over.
    [running] = (await get(http, "", **asked, as_of=second(12), status="RUNNING"))["data"]
    assert running["id"] == runs[1].run_id
    first = await get(http, "", **asked, as_of=second(12))
    rest = await get(http, "", **asked, as_of=second(12), cursor=first["next_cursor"])
    told = [(one["id"], one["status"]) for one in first["data"] + rest["data"]]
    assert told == [(runs[1].run_id, "RUNNING"), (runs[0].run_id, "COMPLETED")]
    assert (rest["next_cursor"], rest["as_of"]) == (None, second(12))


@pytest.mark.parametrize(
    ("moment", "status", "says"),
    [
        ("8", 404, "has 7 entries so far"),
        (second(0), 404, "as of"),
        ("0", 422, "no moment"),
        ("yesterday", 422, "no moment"),
        ("2026-03-01T06:30:00", 422, "no moment"),
    ],
)
async def test_moments_that_there_are_not(
    http: httpx.AsyncClient, run: Orders, moment: str, status: int, says: str
) -> None:
    """The answer is a problem that names the fault, for the run and for its steps."""
    for path in ("", "/nodes"):
        answer = await http.get(f"/v1/executions/{run.run_id}{path}", params={"as_of": moment})
        assert answer.status_code == status
        assert says in answer.json()["detail"]


async def test_a_time_of_a_list_has_a_zone(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/executions", params={"as_of": "2026-03-01T06:30:00"})
    assert answer.status_code == 422


async def test_a_trimmed_run(http: httpx.AsyncClient, place: Installation) -> None:
    """Its past and its journal are gone, which is distinguished from a run that never was, and the
    run has the time of it.
    """
    orders = Orders()
    await place.put([orders.create()])
    await place.drained()
    trim = "update graph_execution set trimmed_at = now() where id = $1"
    await place.db.execute(trim, orders.run_id)
    answer = await http.get(f"/v1/executions/{orders.run_id}", params={"as_of": 1})
    assert (answer.status_code, answer.json()["title"]) == (410, "Gone")
    answer = await http.get(f"/v1/executions/{orders.run_id}/journal")
    assert (answer.status_code, answer.json()["title"]) == (410, "Gone")
    assert (await http.get(f"/v1/executions/{orders.run_id}")).json()["trimmed_at"]


async def test_others_see_nothing(place: Installation, run: Orders, sender: Any) -> None:
    """A token bound to another user has no past to read either."""
    bound = place.settings_with(http_token=f"{SECRET}=bob")
    async with site(bound, sender, SECRET) as http:
        for path in ("", "/nodes"):
            answer = await http.get(f"/v1/executions/{run.run_id}{path}?as_of=4")
            assert answer.status_code == 404
        assert (await get(http, "", as_of=second(4)))["data"] == []
