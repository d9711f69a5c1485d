"""Dead letters put back over HTTP."""

import httpx
import pytest

from execstream import ExecutionClient
from execstream.storage.commit.write_set import dead_letter_id
from execstream.streams.topics import COMMANDS
from tests.dashboard.serving import SECRET, site
from tests.large_records import MIB, put_squeezed
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")


async def letter_of(place: Installation, orders: Orders, *values: bytes) -> str:
    """The last dead letter of a run, after these values."""
    await place.put(map(orders.raw, values))
    await place.drained()
    return str(
        await place.db.fetchval(
            """select id from dead_letter where key = $1 order by "offset" desc limit 1""",
            orders.run_id.encode(),
        )
    )


async def test_a_letter_is_redriven_once(http: httpx.AsyncClient, place: Installation) -> None:
    """202 with its place; it is a new dead letter then, which names the first; once more is 409,
    unless it is asked for."""
    letter = await letter_of(place, Orders(), b"no json")
    path = f"/v1/dead-letters/{letter}/redrive"

    put = await http.post(path, json={})

    assert (put.status_code, put.json()["outcome"]) == (202, "dead")
    await place.drained()
    listed = (await http.get("/v1/dead-letters", params={"limit": 2})).json()["data"]
    assert [one["offset"] for one in listed][:1] == [put.json()["offset"]]
    assert listed[1]["redriven_at"] is not None
    again = await http.post(path, json={})
    assert (again.status_code, "redriven already" in again.json()["detail"]) == (409, True)
    assert (await http.post(path, json={"again": True})).status_code == 202


async def test_a_letter_without_its_value_is_not_redriven(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """The answer is 409 with a sentence: the value of a record too large to be unpacked is not
    stored.
    """
    [at] = await put_squeezed(place, 1, [(b"key", 1100 * MIB)])
    await place.drained()
    letter = dead_letter_id(place.topic(COMMANDS.name), *at)

    put = await http.post(f"/v1/dead-letters/{letter}/redrive", json={})

    assert (put.status_code, "is not kept" in put.json()["detail"]) == (409, True)
    shown = (await http.get(f"/v1/dead-letters/{letter}")).json()
    assert (shown["value"], shown["detail"]["bytes"]) == (None, 1100 * MIB)


async def test_the_outcome_of_one_that_is_a_command(
    http: httpx.AsyncClient, place: Installation
) -> None:
    """`Location` leads to its outcome."""
    orders = Orders()
    created = orders.create()
    foreign = (place.partition_of(created) + 1) % 8
    await place.put([created])
    await place.drained()
    await place.put([orders.start()._replace(partition=foreign)])
    letter = await letter_of(place, orders)

    put = await http.post(f"/v1/dead-letters/{letter}/redrive", json={})
    await place.drained()
    told = await http.get(put.headers["Location"])

    assert (told.status_code, told.json()["outcome"]) == (200, "applied")
    assert told.json()["command_id"] == put.json()["command_id"]


async def test_who_may_redrive(
    http: httpx.AsyncClient, place: Installation, sender: ExecutionClient
) -> None:
    """Neither a foreign page nor a user's token may; a missing one is 404."""
    letter = await letter_of(place, Orders(), b"[")
    path = f"/v1/dead-letters/{letter}/redrive"
    foreign = await http.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert foreign.status_code == 415
    assert (await http.post("/v1/dead-letters/x/redrive", json={})).status_code == 404
    settings = place.settings_with(http_token=f"{SECRET}=ada")
    async with site(settings, sender, SECRET) as as_user:
        assert (await as_user.post(path, json={})).status_code == 404
    assert (await http.get(f"/v1/dead-letters/{letter}")).json()["redriven_at"] is None
