"""What workers tell about themselves: that they make progress, whom they reach, what they count."""

import json
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from devstack.ports import free_ports
from streams.topics import COMMANDS
from tests.orders import Order, Orders
from tests.worker import Installation, Worker, until

STALL = 1.0  # seconds


class Probed:
    """A worker and the address of its probes."""

    def __init__(self, worker: Worker, port: int, http: aiohttp.ClientSession) -> None:
        self.worker = worker
        self._address = f"http://127.0.0.1:{port}"
        self._http = http

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(self._address + path) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum over all samples of `name` that have these labels."""
        _, text = await self.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture
async def probed(place: Installation) -> AsyncIterator[Probed]:
    [port] = free_ports(1)
    async with (
        aiohttp.ClientSession() as http,
        place.worker(http_port=port, stall_after=STALL) as worker,
    ):
        yield Probed(worker, port, http)


def _life() -> list[Order]:
    orders = Orders()
    return [orders.create(orders.node("n")), orders.start(), orders.move("COMPLETED")]


async def test_what_became_of_commands_is_counted(place: Installation, probed: Probed) -> None:
    """By type, outcome and reason, once it is committed; and nothing is left waiting."""
    created, started, completed = _life()
    await place.put([created, started, started, completed, Order(created.key, b"[")])
    await place.put([_life()[1]])  # of a run that was never created
    await place.drained()

    async def has_counted() -> bool:
        return await probed.metric("execstream_commands_total") == 6

    await until(has_counted)
    commands = "execstream_commands_total"
    assert await probed.metric(commands, type="graph.start", outcome="applied") == 1
    assert await probed.metric(commands, type="graph.start", outcome="duplicate") == 1
    assert await probed.metric(commands, type="dead", outcome="dead") == 1
    reason = {"reason": "unknown_graph_execution"}
    assert await probed.metric("execstream_refusals_total", **reason) == 1
    assert await probed.metric("execstream_dead_letters_total", reason="not_json") == 1
    assert await probed.metric("execstream_batch_records_sum") == 6
    for phase in ("decode", "fold", "load", "commit"):
        assert await probed.metric("execstream_phase_seconds_count", phase=phase) >= 1
    assert await probed.metric("execstream_cache_runs") == 1

    async def has_published() -> bool:
        return await probed.metric("execstream_events_published_total") >= 4

    await until(has_published)
    topic = place.topic(COMMANDS.name)
    assert await probed.metric("execstream_partitions_owned", topic=topic) == COMMANDS.partitions
    assert await probed.metric("execstream_lag_records", topic=topic) == 0


async def test_alive_is_who_makes_progress(place: Installation, probed: Probed) -> None:
    """With lag and a position that does not move, a worker is not alive; it is again as soon as
    it moves."""
    status, _ = await probed.get("/livez")
    assert status == HTTPStatus.OK

    async with place.db.acquire() as other, other.transaction():
        await other.execute("lock table consumer_offset in access exclusive mode")
        await place.put(_life())

        async def is_stalled() -> bool:
            return (await probed.get("/livez"))[0] == HTTPStatus.SERVICE_UNAVAILABLE

        await until(is_stalled)
        stalled = json.loads((await probed.get("/livez"))[1])["stalled"]
        assert [one.split("[")[0] for one in stalled] == [place.topic(COMMANDS.name)]
        assert await probed.metric("execstream_lag_records") == 3
        assert await probed.metric("execstream_lag_seconds") >= STALL

    async def is_alive() -> bool:
        return (await probed.get("/livez"))[0] == HTTPStatus.OK

    await until(is_alive)
    await place.drained()


async def test_ready_tells_whom_it_reaches(probed: Probed) -> None:
    """Every server by name."""
    status, text = await probed.get("/readyz")
    assert (status, json.loads(text)) == (
        HTTPStatus.OK,
        {"status": "ready", "postgres": True, "kafka": True, "redis": True},
    )
