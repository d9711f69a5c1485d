"""Progress as the server reports it: from Kafka, Postgres and Redis together."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaProducer

from execstream import ExecutionClient
from execstream.streams.topics import CATALOGUE, COMMANDS, TOPICS
from tests.dashboard.serving import site
from tests.orders import Order, Orders
from tests.worker import Installation, Worker, transacting, until


def _life() -> list[Order]:
    orders = Orders()
    return [orders.create(orders.node("n")), orders.start()]


async def test_topics_and_lag(place: Installation, worker: Worker, http: httpx.AsyncClient) -> None:
    """Every topic is listed with its offsets, its consumers and their lag."""
    assert worker.is_alive
    await place.put(_life())
    await place.drained()

    async def has_no_lag() -> bool:
        parts = await _partitions(place, http, COMMANDS.name)
        return all(part["lag"] in (0, None) for part in parts)

    await until(has_no_lag)
    parts = await _partitions(place, http, COMMANDS.name)
    assert sum(part["end_offset"] for part in parts) == len(place.puts)
    assert {name for part in parts for name in part["consumers"]} == {"apply"}
    data = (await http.get("/v1/topics")).json()["data"]
    assert [one["topic"] for one in data] == [place.topic(topic.name) for topic in TOPICS]


async def test_workers_are_told_by_their_partitions(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """A live worker owns partitions; a role without a worker has none."""
    assert worker.is_alive
    groups = {one["group"]: one for one in (await http.get("/v1/workers")).json()["data"]}
    prefix = place.settings.group_prefix
    assert set(groups) == {f"{prefix}-{role}" for role in ("apply", "tally", "bridge")}
    apply = groups[f"{prefix}-apply"]
    [member] = apply["members"]
    assert apply["state"] == "Stable"
    assert member["partitions"] == {
        place.topic(CATALOGUE.name): [0],
        place.topic(COMMANDS.name): list(range(COMMANDS.partitions)),
    }
    assert groups[f"{prefix}-tally"]["members"] == []


async def _is_complete(http: httpx.AsyncClient, to: datetime) -> bool:
    told = (await http.get("/v1/completeness")).json()
    is_whole = (told["gaps"], told["behind"]) == (0, 0)
    return is_whole and datetime.fromisoformat(told["complete_to"]) >= to


async def test_complete_is_what_has_its_outcome(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """Up to now when nothing waits; else up to the oldest command that does, and no further."""
    assert worker.is_alive
    await place.put(_life())
    await place.drained()
    await until(partial(_is_complete, http, datetime.now(UTC)))

    async with place.db.acquire() as other, other.transaction():
        await other.execute("lock table consumer_offset in row exclusive mode")
        await other.execute("select 1 from consumer_offset for update")
        before = datetime.now(UTC)
        await place.put(_life())

        async def is_behind() -> bool:
            return bool((await http.get("/v1/completeness")).json()["behind"] == 2)

        await until(is_behind)
        told = (await http.get("/v1/completeness")).json()
        waiting = datetime.fromisoformat(told["complete_to"])
        assert before - timedelta(seconds=1) < waiting < datetime.now(UTC)
    await place.drained()


async def _partitions(
    place: Installation, http: httpx.AsyncClient, topic: str
) -> list[dict[str, Any]]:
    data = (await http.get("/v1/topics")).json()["data"]
    [found] = [one for one in data if one["topic"] == place.topic(topic)]
    return list(found["partitions"])


async def _has_its_mark(place: Installation, http: httpx.AsyncClient, number: int) -> bool:
    """Return whether the transaction on that partition of commands has ended there: the broker
    confirms its end before it writes the mark.
    """
    parts = {one["partition"]: one for one in await _partitions(place, http, COMMANDS.name)}
    return bool(parts[number]["stable_offset"] == parts[number]["end_offset"])


async def test_complete_beyond_what_transactions_leave_behind(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """Commands that were given up, and the marks of it, wait for no outcome."""
    assert worker.is_alive
    [order, _] = _life()
    producer = AIOKafkaProducer(
        bootstrap_servers=place.settings.kafka, transactional_id=str(uuid4())
    )
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(
            place.topic(COMMANDS.name),
            order.value,
            order.key,
            partition=place.partition_of(order),
        )
        await producer.abort_transaction()

    await until(partial(_has_its_mark, place, http, place.partition_of(order)))
    await until(partial(_is_complete, http, datetime.now(UTC)))
    # `drained` waits for the last offset, and no consumer commits that of the marker.
    await place.put([order])
    await place.drained()


async def test_complete_is_not_what_a_transaction_holds_back(
    place: Installation, worker: Worker, http: httpx.AsyncClient
) -> None:
    """Records sent by others after an open transaction began are lag, and nothing is complete
    beyond its first record.
    """
    assert worker.is_alive
    async with transacting(place) as producer:
        await producer.begin_transaction()
        [first, _] = _life()
        topic = place.topic(COMMANDS.name)
        await producer.send_and_wait(topic, first.value, first.key, partition=0)
        begun = datetime.now(UTC)
        await place.put(order._replace(partition=0) for order in _life())

        async def is_behind() -> bool:
            return bool((await http.get("/v1/completeness")).json()["behind"] == 3)

        await until(is_behind)
        told = (await http.get("/v1/completeness")).json()
        assert datetime.fromisoformat(told["complete_to"]) <= begun
        [part, *_] = await _partitions(place, http, COMMANDS.name)
        assert part["end_offset"] - part["stable_offset"] == 3
        assert part["lag"] >= 3
        progress = (await http.get("/v1/progress")).json()["data"]
        lags = {one["partition"]: one["lag"] for one in progress if one["consumer"] == "apply"}
        assert lags[0] == part["lag"]
        await producer.commit_transaction()
    await until(partial(_has_its_mark, place, http, 0))
    await place.put([_life()[0]._replace(partition=0)])  # after the marker
    await place.drained()


async def test_without_kafka(
    place: Installation, worker: Worker, sender: ExecutionClient, http: httpx.AsyncClient
) -> None:
    """Progress is reported without lag; facts that only Kafka has are a problem that will pass."""
    assert worker.is_alive

    async def has_no_lag() -> bool:
        return all(one["lag"] == 0 for one in (await http.get("/v1/progress")).json()["data"])

    await until(has_no_lag)
    async with site(place.settings_with(kafka_bootstrap="127.0.0.1:1"), sender) as cut:
        progress = (await cut.get("/v1/progress")).json()["data"]
        assert {one["lag"] for one in progress} == {None}
        assert await has_no_lag()
        for path in ("/v1/topics", "/v1/workers", "/v1/completeness"):
            answer = await cut.get(path)
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
