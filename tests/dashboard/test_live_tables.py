"""The live tables of several workers of the tally, put together by the server."""

from collections.abc import AsyncIterator

import pytest

from execstream import ExecutionClient
from execstream.devstack.ports import free_ports
from execstream.streams.topics import EVENTS
from tests.agents.tallied import counted
from tests.dashboard.serving import site
from tests.orders import Order, Orders
from tests.worker import Installation, Worker, until

RUNS = 20


@pytest.fixture(scope="module")
async def ports(place: Installation, worker: Worker) -> AsyncIterator[list[int]]:
    """The ports of two workers of the tally, which share the partitions."""
    assert worker.is_alive
    ports = free_ports(2)
    workers = [await place.start_worker("tally", tally_port=port) for port in ports]

    async def have_shared() -> bool:
        assert all(one.is_alive for one in workers)
        shares = [one.said("owns")[-1:] for one in workers]
        return (
            sorted(len(share[0]["positions"]) if share else 0 for share in shares)
            == [EVENTS.partitions // 2] * 2
        )

    await until(have_shared)
    yield ports
    for one in workers:
        await one.stop()


def _life(number: int) -> list[Order]:
    orders = Orders()
    last = "FAILED" if number % 4 == 0 else "COMPLETED"
    return [
        orders.create(orders.node("n")),
        orders.start(),
        orders.move_step("n", "RUNNING"),
        orders.move_step("n", last, stats={"cost": 3}),
    ]


def _at(place: Installation, sender: ExecutionClient, *ports: int) -> object:
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    return site(place.settings_with(tally_urls=urls), sender)


async def test_sums_over_all_workers(
    place: Installation, sender: ExecutionClient, ports: list[int]
) -> None:
    """Every partition is in them once, whichever worker owns it; missing ones are named."""
    await place.put([order for number in range(RUNS) for order in _life(number)])
    await place.drained()
    await counted(place)
    async with _at(place, sender, *ports) as http:  # type: ignore[attr-defined]

        async def is_told() -> bool:
            told = (await http.get("/v1/live/blocks")).json()
            return bool(told["data"] and told["data"][0]["ended"] == RUNS)

        await until(is_told)
        told = (await http.get("/v1/live/blocks")).json()
        nodes = (await http.get("/v1/live/nodes")).json()
    [block], [node] = told["data"], nodes["data"]
    assert told["missing"] == nodes["missing"] == []
    assert (block["block_id"], block["failed"], block["cost"]) == ("block", RUNS // 4, 3 * RUNS)
    assert sum(ended for _, ended, _ in block["minutes"]) == RUNS
    assert (node["graph_id"], node["node_id"], node["ended"]) == ("graph", "n", RUNS)
    assert [day[1:] for day in node["days"]] == [[RUNS, RUNS // 4]]

    async with _at(place, sender, ports[0], free_ports(1)[0]) as http:  # type: ignore[attr-defined]
        half = (await http.get("/v1/live/blocks")).json()
    assert len(half["missing"]) == EVENTS.partitions // 2
    assert half["data"][0]["ended"] < RUNS
