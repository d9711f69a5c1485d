"""Canaries: share tokens are known by their hash only, and payloads never get into logs."""

import logging
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from execstream import CommandRefused, ExecutionClient, connect, new_share_token
from execstream.devstack import Addresses
from execstream.models import ExecutionStatus
from execstream.reads import get_graph_execution_by_share_token
from execstream.storage.reads.share_tokens import SHORTEST, hash_share_token
from tests.agents.bridging import Listener
from tests.agents.test_bridge_worker import bridge
from tests.dashboard.serving import site
from tests.orders import Order, Orders, replaced
from tests.worker import Installation, installation

CANARY = "canary-5be1c2d8"
OWNER = "ada"


async def test_tokens_and_payloads_stay_where_they_belong(
    stack: Addresses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The token is nowhere at all and its hash neither in events nor in messages, while it opens
    the run; no log, at its most verbose, has any part of the payloads.
    """
    caplog.set_level(logging.WARNING, "httpx")  # its client logs the requests
    monkeypatch.setenv("EXECSTREAM_LOG_LEVEL", "debug")
    token = new_share_token()
    async with AsyncExitStack() as held:
        place = await held.enter_async_context(installation(stack, tmp_path))
        for name, value in place.settings.environment().items():
            monkeypatch.setenv(name, value)
        redis = await held.enter_async_context(Redis.from_url(stack.redis_url))
        listener = Listener(redis, place.settings.redis_prefix)
        await held.enter_async_context(listener)
        logs = held.enter_context(capture_logs())
        worker = await held.enter_async_context(place.worker())
        teller = await held.enter_async_context(bridge(place))
        run_id = await _live(place, token)
        messages = await listener.hear(7)
        events = await place.events()

        db = await connect(place.settings.postgres, place.settings.schema_)
        shared = await get_graph_execution_by_share_token(db, token)
        await db.close()
        stored = await _everything(place)
        await _open_the_link(place, token)
        said = repr(logs) + caplog.text + worker.log_file.read_text() + teller.log_file.read_text()

    assert shared is not None
    assert shared.id == run_id
    told = [record.value.decode() for records in events.values() for record in records]
    assert "unforeseen" in said
    assert CANARY in repr(messages)
    assert any(CANARY in event for event in told)
    for text in (repr(messages), *told):
        assert token not in text
        assert hash_share_token(token) not in text
    assert token not in stored
    assert hash_share_token(token) in stored
    for secret in (token, hash_share_token(token), CANARY):
        assert secret not in said


async def _live(place: Installation, token: str) -> str:
    """A run that is given canaries in every field, among records that are refused or die."""
    async with ExecutionClient() as client:
        run = await client.create_graph_execution(
            "graph",
            1,
            [("node", {CANARY: CANARY})],
            {"text": CANARY},
            OWNER,
            credential_inputs={"key": {"id": CANARY}},
            block_ids={"node": "block"},
        )
        [step] = run.node_executions
        about: Any = {"user_id": OWNER, "graph_exec_id": run.id}
        await client.upsert_execution_output(step.node_exec_id, CANARY, CANARY, **about)
        with pytest.raises(CommandRefused):
            await client.update_node_execution_status(
                step.node_exec_id, ExecutionStatus.COMPLETED, {"text": CANARY}, **about
            )
        stats: Any = {"cost": CANARY, "error": CANARY}  # invalid stats: logged in a warning
        await client.update_node_execution_status(
            step.node_exec_id, ExecutionStatus.RUNNING, stats=stats, **about
        )
        await client.update_graph_execution_stats(run.id, stats=stats, user_id=OWNER)
        await client.update_graph_execution_share_status(run.id, OWNER, True, token)
    await place.put(_bad(run.id))
    await place.drained()
    return run.id


def _bad(run_id: str) -> list[Order]:
    orders = Orders(run_id, OWNER)
    return [
        orders.raw(f'{{"text": "{CANARY}"'.encode()),
        orders.raw(f'"{CANARY}"'.encode()),
        orders.order(CANARY),
        replaced(orders.emit("node"), at=CANARY),
        replaced(orders.emit("node", data={"text": CANARY}), node_exec_id=str(uuid4())),
        replaced(orders.emit("node", data={"text": CANARY, "n": 1}), output_name=""),
    ]


async def _open_the_link(place: Installation, token: str) -> None:
    """Open the link over HTTP, also when an unexpected error occurs."""
    async with (
        ExecutionClient() as client,
        site(place.settings, client) as http,
    ):
        assert (await http.get(f"/v1/shared/{token}")).status_code == 200
        await place.db.execute("alter table graph rename to gone")
        assert (await http.get(f"/v1/shared/{token}")).status_code == 500


async def _everything(place: Installation) -> str:
    """All rows of all tables, as text."""
    tables = await place.db.fetch(
        "select tablename from pg_tables where schemaname = $1", place.settings.schema_
    )
    rows = [
        row
        for table in tables
        for row in await place.db.fetch(f"select t::text from {table['tablename']} t")
    ]
    return "\n".join(row[0] for row in rows)


def test_tokens_cannot_be_guessed() -> None:
    """128 bits at least, none twice, known by their SHA-256."""
    tokens = {new_share_token() for _ in range(1_000)}

    assert len(tokens) == 1_000
    assert all(len(token) >= SHORTEST for token in tokens)
    assert SHORTEST * 6 >= 128
    assert hash_share_token("token") == sha256(b"token").hexdigest()
    assert hash_share_token("\ud800") != hash_share_token("token")
