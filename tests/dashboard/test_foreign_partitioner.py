"""Runs on partitions that their keys do not choose: noticed at once, and reached all the same."""

import json
from typing import Any

import httpx

from execstream import Applied, ExecutionClient
from execstream.storage.log.run_partitions import partition_for
from tests.orders import Order, Orders
from tests.worker import Installation, Worker, until


def _astray(place: Installation, order: Order) -> Order:
    """`order` on the partition after the one that its key chooses."""
    return order._replace(partition=(place.partition_of(order) + 1) % 8)


async def _created(place: Installation) -> Orders:
    orders = Orders()
    await place.put(_astray(place, order) for order in (orders.create(), orders.start()))
    await place.drained()
    return orders


def _end(orders: Orders) -> dict[str, Any]:
    return dict(json.loads(orders.move("TERMINATED").value or b""))


async def _status(place: Installation, orders: Orders) -> str:
    statement = "select status from graph_execution where id = $1"
    return str(await place.db.fetchval(statement, orders.run_id))


async def test_the_server_reaches_its_partition(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """The partition is right whether or not the outcome is waited for."""
    assert worker.is_alive
    for prefer, status in (("wait=20", 200), ("", 202)):
        orders = await _created(place)
        answer = await http.post("/v1/commands", json=_end(orders), headers={"Prefer": prefer})
        assert answer.status_code == status

        async def is_ended(orders: Orders = orders) -> bool:
            return await _status(place, orders) == "TERMINATED"

        await until(is_ended)


async def test_the_client_reaches_its_partition(
    place: Installation, worker: Worker, sender: ExecutionClient
) -> None:
    """The partition is right by `call`, which looks its run up, and by `send`, when it is given."""
    assert worker.is_alive
    first, second = await _created(place), await _created(place)
    assert isinstance(await sender.call(_end(first)), Applied)
    sent = await sender.send(_end(second), partition=place.puts[-1][0])
    assert sent.partition == place.puts[-1][0]
    await place.drained()
    assert await _status(place, second) == "TERMINATED"


async def test_a_redriven_letter_reaches_its_partition(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """A record that was on the partition of its key, and no command of that run there."""
    assert worker.is_alive
    orders = await _created(place)
    [at] = await place.put([orders.move("TERMINATED")])
    await place.drained()
    letter = await place.db.fetchval(
        'select id::text from dead_letter where partition = $1 and "offset" = $2', *at
    )
    redriven = await http.post(f"/v1/dead-letters/{letter}/redrive", json={})
    assert redriven.json()["partition"] == place.puts[-2][0]
    await place.drained()
    assert await _status(place, orders) == "TERMINATED"


async def test_it_is_noticed(place: Installation, worker: Worker, http: httpx.AsyncClient) -> None:
    """The worker's log and the list of hazards show it."""
    await _created(place)

    async def is_logged() -> bool:
        return bool(worker.said("foreign_partitioner"))

    await until(is_logged)
    assert "murmur2_random" in worker.said("foreign_partitioner")[0]["remedy"]
    found = (await http.get("/v1/hazards")).json()["data"]
    [hazard] = [one for one in found if one["check"] == "partitioner"]
    assert " of the newest 1,000 runs are where their keys do not belong" in hazard["found"]


async def test_keys_decide_for_all_others(place: Installation) -> None:
    """For a run that is created, one that is unknown, and key-values."""
    from execstream.streams.decoding import decode  # noqa: PLC0415 - of this test alone

    orders = Orders()
    for order in (orders.create(), orders.start(), orders.keep()):
        command = decode(order.key, order.value, 1_000_000)
        assert await partition_for(place.db, command) is None  # type: ignore[arg-type]
