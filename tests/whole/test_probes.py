"""Reports of workers about themselves: progress, reachable servers, counters."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from execstream.agents.runtime.partition_progress import SETTLING
from execstream.agents.worker import Timing
from execstream.devstack.ports import free_ports
from execstream.streams.topics import CATALOGUE, COMMANDS
from tests.orders import Order, Orders
from tests.storage.proxy import cable
from tests.whole.test_topics import configure
from tests.worker import Installation, Worker, transacting, until

STALL = 4.0  # seconds; a fetch that finds nothing takes one


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

    async def is_alive(self) -> bool:
        try:
            return (await self.get("/livez"))[0] == HTTPStatus.OK
        except aiohttp.ClientConnectionError:
            return False  # it has only been started

    async def is_stalled(self) -> bool:
        return not await self.is_alive()

    async def stalled(self) -> list[str]:
        return list(json.loads((await self.get("/livez"))[1])["stalled"])


@asynccontextmanager
async def probing(place: Installation, **options: Any) -> AsyncIterator[Probed]:
    """A worker that has only been started."""
    [port] = free_ports(1)
    worker = await place.start_worker(
        "apply", apply_port=port, timing=Timing(stall_after=STALL), **options
    )
    try:
        async with aiohttp.ClientSession() as http:
            yield Probed(worker, port, http)
        assert worker.is_alive
    finally:
        await worker.stop()


@pytest.fixture
async def probed(place: Installation) -> AsyncIterator[Probed]:
    [port] = free_ports(1)
    async with (
        aiohttp.ClientSession() as http,
        place.worker(apply_port=port, timing=Timing(stall_after=STALL)) as worker,
    ):
        yield Probed(worker, port, http)


def _life() -> list[Order]:
    orders = Orders()
    return [orders.create(orders.node("n")), orders.start(), orders.move("COMPLETED")]


async def _is_at(place: Installation, partition: int, offset: int) -> bool:
    """Return whether the commands before `offset` are committed."""
    statement = "select next_offset from consumer_offset where consumer = $1 and partition = $2"
    return (await place.db.fetchval(statement, "apply", partition) or 0) >= offset


async def test_what_became_of_commands_is_counted(place: Installation, probed: Probed) -> None:
    """They are counted by type, outcome and reason, once committed; and nothing is left waiting."""
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
    await until(lambda: _owns(probed, CATALOGUE.name))
    assert await probed.is_alive()

    async with place.db.acquire() as other, other.transaction():
        await other.execute("lock table consumer_offset in access exclusive mode")
        await place.put(_life())

        await until(probed.is_stalled)
        stalled = await probed.stalled()
        assert [one.split("[")[0] for one in stalled] == [place.topic(COMMANDS.name)]
        assert await probed.metric("execstream_lag_records") == 3
        assert await probed.metric("execstream_lag_seconds") >= STALL

    await until(probed.is_alive)
    await place.drained()


@pytest.mark.slow
async def test_who_hears_nothing_is_not_alive(place: Installation) -> None:
    """An idle worker is, for as long as its fetches return."""
    async with probing(place, program="tests.whole.deaf_worker") as probed:
        await until(lambda: _owns(probed, CATALOGUE.name))
        await asyncio.sleep(2 * STALL)
        assert await probed.is_alive()
        probed.worker.process.send_signal(signal.SIGRTMIN)
        await until(probed.is_stalled)

        assert place.topic(COMMANDS.name) + "[0]" in await probed.stalled()


@pytest.mark.slow
async def test_who_comes_to_own_nothing_is_not_alive(place: Installation) -> None:
    """It is not alive as long as an assigned partition is not claimed; but while no broker answers,
    waiting for one is right.
    """
    address = f"kafka://{place.settings.kafka}"
    async with cable(address) as (line, near), place.db.acquire() as other:
        held = other.transaction()
        await held.start()
        await other.execute("lock table consumer_offset in access exclusive mode")
        async with probing(place, kafka_bootstrap=near.removeprefix("kafka://")) as probed:
            await until(probed.is_alive)
            await until(probed.is_stalled)
            topics = {place.topic(COMMANDS.name), place.topic(CATALOGUE.name)}
            assert set(await probed.stalled()) == topics
            line.cut()
            await until(probed.is_alive)
            await asyncio.sleep(SETTLING * STALL + 1)
            assert await probed.is_alive()
            line.mend()
            await until(probed.is_stalled)
            await held.rollback()
            await until(probed.is_alive)
            await until(lambda: _owns(probed, COMMANDS.name))


async def _owns(probed: Probed, name: str) -> bool:
    return any(line["topic"].endswith(name) for line in probed.worker.said("owns"))


async def test_what_ends_a_transaction_is_no_lag(place: Installation, probed: Probed) -> None:
    """Its marker has an offset, which is never delivered."""
    async with transacting(place) as producer:
        topic = place.topic(COMMANDS.name)
        async with producer.transaction():
            for order in _life():
                await producer.send(topic, order.value, order.key, partition=0)
    await until(lambda: _is_at(place, 0, 3))
    await asyncio.sleep(2 * STALL)

    assert await probed.metric("execstream_lag_records") == 0
    assert (await probed.get("/livez"))[0] == HTTPStatus.OK


async def test_an_open_transaction_is_lag(place: Installation, probed: Probed) -> None:
    """All records behind it wait; its producer is reported, and the worker stays alive, because a
    restart would not help.
    """
    topic = place.topic(COMMANDS.name)
    async with transacting(place) as producer:
        await producer.begin_transaction()
        [order, *_] = _life()
        sent = await producer.send_and_wait(topic, order.value, order.key, partition=0)
        await place.put(one._replace(partition=0) for one in _life())

        async def is_held_back() -> bool:
            return bool(json.loads((await probed.get("/livez"))[1])["held_back"])

        await until(is_held_back)
        status, text = await probed.get("/livez")
        told_of = {"status": "held back", "stalled": [], "held_back": [f"{topic}[0]"]}
        assert status == HTTPStatus.OK
        assert json.loads(text).items() >= told_of.items()
        # Marks of earlier transactions may be among them.
        assert await probed.metric("execstream_lag_records", topic=topic) >= 4
        assert await probed.metric("execstream_held_back_records", topic=topic) >= 4
        assert await probed.metric("execstream_lag_seconds", topic=topic) >= STALL

        async def is_told() -> bool:
            return bool(probed.worker.said("held_back"))

        await until(is_told)
        [told] = probed.worker.said("held_back")
        assert f"producer {producer._txn_manager.producer_id} " in told["found"]
        assert f"on {topic}[0] since offset {sent.offset} " in told["found"]
        await producer.abort_transaction()

        async def has_its_mark() -> bool:
            return not await is_held_back()

        await until(has_its_mark)
    await place.put([_life()[0]._replace(partition=0)])  # after the marker
    await place.drained()

    async def has_no_lag() -> bool:
        return await probed.metric("execstream_lag_records") == 0

    await until(has_no_lag)
    assert await probed.metric("execstream_held_back_records") == 0
    assert await probed.metric("execstream_lag_seconds") == 0


async def test_lag_goes_by_our_own_clock(stack: Any, place: Installation, probed: Probed) -> None:
    """However far ahead the clocks of producers are, on a topic that has their times."""
    topic = place.topic(COMMANDS.name)
    await configure(stack, topic, {"message.timestamp.type": "CreateTime"})
    ahead = int((time.time() + 3_000) * 1000)
    await until(lambda: _owns(probed, CATALOGUE.name))
    await place.put(one._replace(timestamp=ahead, partition=0) for one in _life())
    await place.drained()
    assert await probed.metric("execstream_position_timestamp_seconds", topic=topic) == 0

    async with place.db.acquire() as other, other.transaction():
        await other.execute("lock table consumer_offset in access exclusive mode")
        await place.put(one._replace(timestamp=ahead, partition=0) for one in _life())
        await until(probed.is_stalled)
        assert await probed.metric("execstream_lag_seconds", topic=topic) >= STALL
    await place.drained()


async def test_ready_tells_whom_it_reaches(probed: Probed) -> None:
    """Every server by name."""
    status, text = await probed.get("/readyz")
    servers = {"postgres": True, "kafka": True, "redis": True}
    expected = {"status": "ready", **servers, "reasons": {}, "waiting": {}}
    assert status == HTTPStatus.OK
    assert json.loads(text).items() >= expected.items()
