"""The server as a process of its own, and when it gives up."""

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from execstream import ExecutionClient, __version__
from execstream.dashboard.feed.reader import Reader
from execstream.dashboard.server import Server
from tests.dashboard.serving import PATIENCE, SECRET
from tests.dashboard.sse import Subscription
from tests.whole.program import Program
from tests.worker import Installation


async def test_serve(place: Installation, tmp_path: Path) -> None:
    """`execstream serve` answers at its address, and ends on SIGTERM though a stream is open."""
    token = {"EXECSTREAM_HTTP_TOKEN": SECRET}
    program = Program(tmp_path, place.settings.environment() | token)
    async with program.running("serve", "--port", "0", "--json") as process:
        assert process.stdout
        url = json.loads(await process.stdout.readline())["url"]
        async with Subscription(url, secret=SECRET) as stream:
            await stream.next("snapshot")
            async with httpx.AsyncClient() as http:
                alive = (await http.get(f"{url}/livez")).json()
                assert (alive["status"], alive["version"]) == ("alive", __version__)
                assert (await http.get(f"{url}/readyz")).json()["status"] == "ready"
                assert (await http.get(f"{url}/v1/executions")).status_code == 401
            process.send_signal(signal.SIGTERM)
            said = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, said[1].decode()
    assert SECRET.encode() not in b"".join(said)


async def test_what_nobody_foresaw(
    place: Installation, sender: ExecutionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends the server, so that it is started anew."""

    async def fail(_: Reader) -> None:
        raise LookupError("of the test")

    server = Server(place.settings, sender, "127.0.0.1", 0)
    running = asyncio.create_task(server.run())
    monkeypatch.setattr(Reader, "_catch_up", fail)
    async with Subscription(server.url):
        assert not await asyncio.wait_for(running, PATIENCE)
