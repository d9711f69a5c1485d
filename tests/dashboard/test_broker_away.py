"""Commands while the broker does not answer: no reply confirms one that Kafka may not have."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from execstream import ExecutionClient, NotDelivered, OutcomeUnknown
from execstream.devstack import Stack
from execstream.streams.topics import COMMANDS
from tests.dashboard.serving import site
from tests.worker import Installation, installation

SOON = 30.0  # seconds


@pytest.fixture
async def idle(
    breakable_stack: Stack,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Installation]:
    """Topics without a consumer, on a broker that may be stopped."""
    async with installation(breakable_stack, tmp_path_factory.mktemp("logs")) as own:
        for name, value in own.settings.environment().items():
            monkeypatch.setenv(name, value)
        yield own


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """The broker takes connections, and answers nothing."""
    os.kill(stack.pids["kafka"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.pids["kafka"], signal.SIGCONT)


def command() -> dict[str, Any]:
    about = {"user_id": "ada", "graph_exec_id": str(uuid4()), "id": str(uuid4())}
    return {"type": "graph.start"} | about


@pytest.mark.slow
async def test_it_is_told_apart(breakable_stack: Stack, idle: Installation) -> None:
    """A command that Kafka has, without a reply, is unknown; one that Kafka did not confirm is not
    delivered, and a client that gave up on it can be left.
    """
    client = ExecutionClient()
    async with client:
        known = command()
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.call(known, 0.5)
        assert unknown.value.place in {(one.partition, one.offset) for one in await idle.commands()}
        with frozen(breakable_stack):
            for attempt in (client.call, client.send):
                lost = command()
                with pytest.raises(NotDelivered, match="the same id") as raised:
                    await attempt(lost, 0.5)
                assert raised.value.command_id == lost["id"]
    before = await idle._ends(COMMANDS.name)
    async with ExecutionClient() as other:
        await other.send(command())  # the broker is well again
    assert sum((await idle._ends(COMMANDS.name)).values()) == sum(before.values()) + 1


async def test_a_client_is_left_while_the_broker_is_away(
    breakable_stack: Stack, idle: Installation
) -> None:
    """The client does not wait for commands that were given up."""
    client = ExecutionClient()
    await client.__aenter__()
    with frozen(breakable_stack):
        with pytest.raises(NotDelivered):
            await client.send(command(), 0.5)
        async with asyncio.timeout(SOON):
            await client.__aexit__(None, None, None)


async def test_over_http(
    breakable_stack: Stack, idle: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the id to send it with again, waited for or not; and 202 with its place once Kafka
    has it."""
    monkeypatch.setattr("execstream.dashboard.routes.commands.DELIVERY_PATIENCE", 0.5)
    async with (
        ExecutionClient() as client,
        site(idle.settings, client) as http,
    ):
        for headers in ({}, {"Prefer": "wait=1"}):
            sent = command()
            with frozen(breakable_stack):
                told = await http.post("/v1/commands", json=sent, headers=headers)
            assert (told.status_code, told.headers["Retry-After"]) == (503, "2")
            assert told.json()["command_id"] == sent["id"]
            again = await http.post("/v1/commands", json=sent, headers=headers)
            assert (again.status_code, again.json()["outcome"]) == (202, "pending")
            assert "partition=" in again.headers["Location"]
