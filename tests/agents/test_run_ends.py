"""Ends of runs at the webhook: one message for each, whichever worker dies, of those asked for."""

import asyncio
import hashlib
import hmac
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from execstream.devstack import Addresses
from execstream.storage.alerts.deliveries import DeliveryState, list_deliveries
from execstream.streams.imported import HEADERS
from tests.agents.alerted import SECRET, Receiver, begun, has, receiving
from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import Installation, installation, until

RECEIVER = Path(__file__).parents[2] / "examples/webhook/receiver.py"
ALL = "COMPLETED,FAILED,TERMINATED"


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics and tables of a test's own, and a worker that applies."""
    async with installation(stack, tmp_path) as own, own.worker():
        yield own


def run_of(orders: Orders, *statuses: str, graph_id: str = "graph") -> list[Order]:
    moves = [orders.move(status) for status in statuses]
    return [orders.create(graph_id=graph_id), orders.start(), *moves]


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [one["run"]["graph_exec_id"] for one in messages if one["type"] == "run.ended"]


async def counted(place: Installation) -> None:
    """Return when the tally has committed all events."""

    async def is_level() -> bool:
        last = await place.last_sources()
        rows = await place.db.fetch(
            "select published_offset from consumer_offset where consumer = 'tally'"
        )
        return len(last) > 0 and sum(row[0] >= 0 for row in rows) >= len(last) and await ahead()

    async def ahead() -> bool:
        rows = await place.db.fetch(
            "select partition, next_offset from consumer_offset where consumer = 'tally'"
        )
        events = await place.events_so_far()
        stored = {row["partition"]: row["next_offset"] for row in rows}
        return all(stored.get(p, 0) > some[-1].offset for p, some in events.items() if some)

    await until(is_level)


async def test_those_asked_for_are_sent(place: Installation) -> None:
    """By status, graph and owner; signed, and with the fields of the run. Imported ends, other
    statuses, graphs and owners are not, and neither is a run that goes on."""
    failed, good, other, foreign, live, past = (Orders() for _ in range(6))
    foreign.user_id = "eve"
    async with receiving(500) as receiver:
        filters = {"webhook_run_statuses": "FAILED,TERMINATED", "webhook_run_graphs": "mine,graph"}
        worker = await begun(place, receiver, webhook_run_users="ada,bob", **filters)
        await place.put(run_of(good, "RUNNING", "COMPLETED"))
        await place.put(run_of(other, "RUNNING", "FAILED", graph_id="elsewhere"))
        await place.put(run_of(foreign, "RUNNING", "FAILED"))
        await place.put(run_of(live, "RUNNING"))
        imported = run_of(past, "RUNNING", "FAILED")
        await place.put(one._replace(headers=HEADERS) for one in imported)
        await place.put(run_of(failed, "RUNNING", "FAILED", graph_id="mine"))
        await counted(place)
        await until(lambda: has(receiver.taken, 1))
        await worker.stop()

    [message] = receiver.taken
    rows = await place.db.fetch("select * from run_message")
    assert ids(receiver.taken) == [failed.run_id]
    assert len(rows) == 1
    run = message["run"]
    assert (run["graph_id"], run["user_id"], run["status"]) == ("mine", "ada", "FAILED")
    assert message["message_id"] == f"{failed.run_id}/{run['seq']}"
    (headers, body), *_ = receiver.requests
    signed = headers["Execstream-Timestamp"].encode() + b"." + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["Execstream-Signature"] == f"sha256={digest}"
    assert headers["Execstream-Message"] == message["message_id"]
    assert len(receiver.requests) == 2  # the first try was refused
    [logged] = await list_deliveries(place.db)
    assert (logged.state, logged.tries) == (DeliveryState.DELIVERED, 2)
    assert (logged.message_id, logged.about) == (message["message_id"], "FAILED")


async def test_a_replay_sends_nothing(place: Installation, tmp_path: Path) -> None:
    """Neither one into new tables, nor events that are published again."""
    program = Program(tmp_path, place.settings.environment())
    run, rebuilt = Orders(), f"{place.settings.schema_}_new"
    async with receiving() as receiver:
        worker = await begun(place, receiver, webhook_run_statuses=ALL)
        await place.put(run_of(run, "RUNNING", "FAILED"))
        await until(lambda: has(receiver.taken, 1))
        replayed = await program("replay", "--into", rebuilt, "--json")
        again = await program("replay", "--events", "--to-redis", "--rate", "0", "--json")
        other = Orders()
        await place.put(run_of(other, "RUNNING", "FAILED"))
        await until(lambda: has(receiver.taken, 2))
        await worker.stop()

    assert (replayed.code, again.code) == (0, 0), (replayed.err, again.err)
    assert ids(receiver.taken) == [run.run_id, other.run_id]
    assert await place.db.fetchval(f"select count(*) from {rebuilt}.graph_execution") == 1
    assert await place.db.fetchval(f"select count(*) from {rebuilt}.run_message") == 0
    await place.db.execute(f"drop schema {rebuilt} cascade")


@pytest.mark.slow
async def test_each_end_is_one_whoever_dies(place: Installation) -> None:
    """Workers of the tally are killed while runs end; each end has one message. A run that goes on
    and ends again has two."""
    runs = [Orders() for _ in range(60)]
    again = Orders()
    async with receiving() as receiver:
        for number in range(6):
            worker = await begun(place, receiver, webhook_run_statuses=ALL)
            for orders in runs[number * 10 :][:10]:
                await place.put(run_of(orders, "RUNNING", "COMPLETED"))
            await worker.kill()
        last = await begun(place, receiver, webhook_run_statuses=ALL)
        await place.put(
            [*run_of(again, "RUNNING", "TERMINATED"), again.move("QUEUED"), again.move("FAILED")]
        )
        await counted(place)
        await place.db.execute(
            "update run_message set next_try_at = now() where delivered_at is null"
        )

        async def is_sent() -> bool:
            return bool(
                await place.db.fetchval(
                    "select count(*) = 62 from run_message where delivered_at is not null"
                )
            )

        await until(is_sent)
        before = len(receiver.requests)
        await last.stop()

    taken = {one["message_id"] for one in receiver.taken}
    assert await place.db.fetchval("select count(*) from run_message") == 62
    assert len(taken) == 62
    assert sorted(set(ids(receiver.taken))) == sorted([again.run_id, *(one.run_id for one in runs)])
    of_again = [one["run"]["status"] for one in receiver.taken if again.run_id in one["message_id"]]
    assert list(dict.fromkeys(of_again)) == ["TERMINATED", "FAILED"]
    assert before >= 62


async def test_the_example_receives(place: Installation) -> None:
    """The receiver of the examples takes an end, drops its repeat, and refuses another secret."""
    orders, other = Orders(), Orders()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        RECEIVER,
        env=os.environ | {"SECRET": SECRET, "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        receiver = Receiver(url=(await process.stdout.readline()).decode().strip())
        worker = await begun(place, receiver, webhook_run_statuses=ALL)
        await place.put(run_of(orders, "RUNNING", "COMPLETED"))
        first = (await process.stdout.readline()).decode()
        sent = "select count(*) from run_message where delivered_at is not null"
        await until(lambda: place.db.fetchval(sent))
        await place.db.execute("update run_message set next_try_at = now(), delivered_at = null")
        await until(lambda: place.db.fetchval("select count(*) from run_message where tries = 2"))
        await worker.stop()
        settings: dict[str, Any] = {
            "webhook_run_statuses": ALL,
            "alert_webhook_secret": "another secret of tests",
        }
        forged = await place.start_worker("tally", alert_webhook_url=receiver.url, **settings)
        await place.put(run_of(other, "RUNNING", "COMPLETED"))
        refused = "select last_error from run_message where last_error is not null"
        assert await until(lambda: place.db.fetchval(refused)) == "HTTP 401"
        await forged.stop()
    finally:
        process.kill()
        await process.wait()
    assert first == f"run {orders.run_id} of graph ended: COMPLETED\n"
    assert await process.stdout.read() == b""
