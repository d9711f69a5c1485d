"""Spans of runs, as a receiver gets them that reads as the Collector of OpenTelemetry does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tests.clients.program import PATIENCE
from tests.orders import Orders
from tests.whole.program import Program
from tests.worker import Installation

pytestmark = [
    pytest.mark.fetched,
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.usefixtures("worker"),
]


PARTLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}'
)
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """The address of a receiver that has this answer for everyone, and the methods asked for."""
    methods: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        methods.append(head.partition(" ")[0].upper())
        await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", methods


async def test_a_run_as_spans(
    place: Installation, receiver: tuple[str, asyncio.StreamReader], tmp_path: Path
) -> None:
    """The run and its steps with times, tokens, cost and errors; a child leads to its parent."""
    parent, child = Orders(user_id="ada"), Orders(user_id="ada")
    tokens = {"input_token_count": 7, "output_token_count": 5, "cost": 3, "walltime": 1.5}
    await place.put(
        [
            parent.create(parent.node("a"), parent.node("b"), parent.node("c")),
            parent.start(),
            *(parent.move_step("a", to, stats=tokens) for to in ("RUNNING", "COMPLETED")),
            parent.move_step("b", "RUNNING"),
            parent.move_step("b", "FAILED", stats={"error": "429: slow down"}),
            parent.move("FAILED", stats={"cost": 3, "error": "b failed"}),
            child.create(parent_graph_exec_id=parent.run_id),
            child.start(),
            child.move("COMPLETED"),
        ]
    )
    await place.drained()
    url, lines = receiver
    program = Program(tmp_path, place.settings.environment())

    sent = await program("trace", parent.run_id, "--to", url, "--json")
    spans = [json.loads(await lines.readline()) for _ in range(sent.json()["spans"])]
    printed = await program("trace", child.run_id, "--to", f"{url}/")
    linked = json.loads(await lines.readline())
    away = await program("trace", parent.run_id, "--to", f"{url}/elsewhere")
    answers = []
    for answer in (PARTLY, MOVED):
        async with answering(answer) as (address, methods):
            answers.append((await program("trace", parent.run_id, "--to", address), methods))

    root, a, b = spans
    assert {span["trace"] for span in spans} == {UUID(parent.run_id).hex}
    assert [span["parent"] for span in spans] == ["", root["span"], root["span"]]
    assert root["name"] == f"invoke_agent {root['attributes']['gen_ai.agent.id']}"
    assert (root["status"], root["message"], root["service"]) == (
        *("Error", "b failed"),
        "execstream",
    )
    assert root["events"] == ["INCOMPLETE", "RUNNING", "FAILED"]
    assert root["attributes"]["execstream.cost_cents"] == 3
    assert (a["status"], a["events"]) == ("Ok", ["QUEUED", "RUNNING", "COMPLETED"])
    assert a["attributes"]["gen_ai.usage.input_tokens"] == 7
    assert a["attributes"]["gen_ai.usage.output_tokens"] == 5
    assert a["attributes"]["gen_ai.operation.name"] == "execute_tool"
    assert (b["status"], b["message"]) == ("Error", "429: slow down")
    assert (b["attributes"]["error.type"], b["kind"]) == ("FAILED", "Internal")
    assert all(span["seconds"] >= 0 for span in spans)
    rows = await place.db.fetch(
        "select extract(epoch from ended_time - started_time)::float8 as seconds"
        " from node_execution where graph_exec_id = $1 and started_time is not null"
        " order by started_time",
        parent.run_id,
    )
    assert [a["seconds"], b["seconds"]] == pytest.approx([row["seconds"] for row in rows])
    assert linked["links"] == [f"{root['trace']}/{root['span']}"]
    assert printed.out == f"Sent 1 spans of run {child.run_id}.\n"
    assert away.code == 1
    [(partly, one), (moved, elsewhere)] = answers
    assert (partly.code, "rejected 2 (too old) of the spans" in partly.err) == (1, True)
    assert (moved.code, "refused the spans: 302" in moved.err) == (1, True)
    assert (one, elsewhere) == (["POST"], ["POST"])
    assert "refused the spans: 404" in away.err
