"""`execstream mcp` by the official client: reads of the server, with the rights of its token."""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from execstream import ExecutionClient
from tests.dashboard.serving import SECRET, serving
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.usefixtures("worker")

ADA, BOB = "ada-mcp", "bob-mcp"


@pytest.fixture(scope="module")
async def runs(place: Installation) -> tuple[Orders, Orders]:
    """A failed run of one user, and a run of another."""
    ada, bob = Orders(user_id=ADA), Orders(user_id=BOB)
    await place.put(
        [
            ada.create(ada.node("writer")),
            ada.start(),
            ada.move_step("writer", "RUNNING"),
            ada.move_step("writer", "FAILED", stats={"error": "HTTP 503 from the provider"}),
            ada.move("FAILED"),
            bob.create(),
        ]
    )
    await place.drained()
    return ada, bob


@pytest.fixture(scope="module")
async def url(place: Installation, sender: ExecutionClient) -> AsyncIterator[str]:
    """A server with a token that is bound to the first user, and one that is not."""
    settings = place.settings_with(http_token=f"unbound-of-the-tests,{SECRET}={ADA}")
    async with serving(settings, sender) as server:
        yield server.url


def client(url: str, token: str) -> Client:
    """The client, with the program as its child."""
    command = ["-m", "execstream", "mcp", "--url", url]
    variables = {"EXECSTREAM_MCP_TOKEN": token}
    return Client(StdioServerParameters(command=sys.executable, args=command, env=variables))


def content(result: Any) -> Any:
    """The JSON that a tool has returned."""
    assert not result.is_error, result
    return json.loads(result.content[0].text)


async def test_tools_only_read(url: str) -> None:
    """Each says of itself that it does."""
    async with client(url, SECRET) as assistant:
        tools = (await assistant.list_tools()).tools
    assert {tool.name for tool in tools} >= {"list_runs", "explain_run", "situation"}
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
    assert all(tool.description for tool in tools)


async def test_a_run_is_explained(url: str, runs: tuple[Orders, Orders]) -> None:
    """It has the failed step with its error, and the journal of the run."""
    ada, _ = runs
    async with client(url, SECRET) as assistant:
        listed = content(await assistant.call_tool("list_runs", {"status": ["FAILED"]}))
        explained = content(await assistant.call_tool("explain_run", {"graph_exec_id": ada.run_id}))
    assert [run["id"] for run in listed["data"]] == [ada.run_id]
    [step] = explained["failed_steps"]
    assert step["status"] == "FAILED"
    assert explained["journal"][-1]["status"] == "FAILED"


@pytest.mark.slow
async def test_a_bound_token_shows_its_user_only(url: str, runs: tuple[Orders, Orders]) -> None:
    """Runs of others, and figures over all users, do not exist."""
    _, bob = runs
    async with client(url, SECRET) as assistant:
        for name, arguments in (
            ("explain_run", {"graph_exec_id": bob.run_id}),
            ("situation", {}),
            ("list_alerts", {}),
            ("failing_blocks", {}),
        ):
            result = await assistant.call_tool(name, arguments)
            assert result.is_error
            assert "Not Found" in str(result.content)
    async with client(url, "unbound-of-the-tests") as assistant:
        for name in ("situation", "list_alerts", "failing_blocks"):
            assert content(await assistant.call_tool(name, {}))


async def test_a_wrong_token_is_told_so(url: str) -> None:
    """The sentence of the server is what the assistant reads."""
    async with client(url, "wrong") as assistant:
        result = await assistant.call_tool("list_runs", {})
    assert result.is_error
    assert "Unauthorized" in str(result.content)
