"""Spans of a command on its way, from its producer to Redis, as a receiver of OTLP gets them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from execstream import ExecutionClient
from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS, EVENTS
from tests.clients.program import PATIENCE
from tests.orders import Orders
from tests.worker import Installation, installation

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(2 * PATIENCE)]

Span = dict[str, Any]
IN_TIME = 8.0  # seconds; of those that a worker has to end
WAIT = 30.0  # seconds; OpenTelemetry's exporter sends every 5


@pytest.fixture
async def own(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as made:
        yield made


async def spans(lines: asyncio.StreamReader, count: int) -> list[Span]:
    """The next spans that the receiver gets."""
    async with asyncio.timeout(WAIT):
        return [json.loads(await lines.readline()) for _ in range(count)]


async def test_every_stage_adds_its_span(
    own: Installation,
    receiver: tuple[str, asyncio.StreamReader],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One trace: call, send, apply with its commit and publication, bridge; batches have links to
    the commands they hold, and a command that its producer does not trace adds nothing."""
    url, lines = receiver
    for name, value in own.settings.environment().items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as running:
        for role in ("apply", "bridge"):
            worker = await own.start_worker(role, traces_url=url)
            running.push_async_callback(worker.stop)
        run = Orders()
        await own.put([run.create()])  # not traced
        await own.drained()
        monkeypatch.setenv("EXECSTREAM_TRACES_URL", url)
        monkeypatch.setenv("EXECSTREAM_TRACES_RATIO", "1")
        async with ExecutionClient() as client:
            await client.call(json.loads(run.start().value or b""))
        got = await spans(lines, 6)

    by_name = {f"{one['service']}: {one['name']}": one for one in got}
    commands, events = own.topic(COMMANDS.name), own.topic(EVENTS.name)
    call = by_name["execstream-client: call graph.start"]
    sent = by_name[f"execstream-client: send {commands}"]
    stages = [
        by_name[f"execstream-apply: process {commands}"],
        by_name["execstream-apply: commit"],
        by_name[f"execstream-apply: send {events}"],
        by_name[f"execstream-bridge: process {events}"],
    ]
    assert {one["trace"] for one in got} == {call["trace"]}
    assert (call["parent"], sent["parent"]) == ("", call["span"])
    assert {one["parent"] for one in stages} == {sent["span"]}
    place = f"{sent['trace']}/{sent['span']}"
    assert [one["links"] for one in stages] == [[], [place], [place], []]
    assert [one["kind"] for one in (call, sent, *stages)] == [
        *("Client", "Producer", "Consumer", "Internal", "Internal", "Consumer")
    ]
    assert call["seconds"] >= sent["seconds"] > 0
    assert sent["attributes"]["execstream.command.type"] == "graph.start"


async def test_traces_may_be_lost(own: Installation) -> None:
    """Without a receiver at the address, commands are applied all the same, and a worker with a
    span in hand ends in time.
    """
    traced = [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]
    worker = await own.start_worker("apply", traces_url="http://127.0.0.1:9")
    await own.put([Orders().create()._replace(headers=traced)])
    await own.drained()
    begun = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - begun < IN_TIME
