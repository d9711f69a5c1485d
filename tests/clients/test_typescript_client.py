"""The client in TypeScript: its types are those of the schemas, and real servers understand it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from docs.generate import DOCS
from tests.clients.program import PATIENCE, run
from tests.fetching import program as fetched
from tests.worker import HOME, Installation

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(2 * PATIENCE)]

CLIENT = HOME / "clients" / "typescript"
PROGRAMS = Path(__file__).parent / "typescript"
MADE = ("node_modules", "dist")


@asynccontextmanager
async def cutting(url: str, behind: bytes) -> AsyncIterator[str]:
    """The address of a proxy that cuts its first connection after it has passed `behind` on."""
    to, cuts = urlsplit(url), [behind]

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            if cuts and cuts[0] in data:
                cuts.clear()
                break

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, sending = await asyncio.open_connection(to.hostname, to.port)
        up = asyncio.create_task(pass_on(reader, sending))
        with suppress(OSError):
            await pass_on(upstream, writer)
        up.cancel()
        sending.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
    assert not cuts


@pytest.fixture(scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, with its dependencies, from clean folders."""
    home = tmp_path_factory.mktemp("typescript")
    shutil.copytree(DOCS / "schemas", home / "docs" / "schemas")
    client = home / "clients" / "typescript"
    shutil.copytree(CLIENT, client, ignore=shutil.ignore_patterns(*MADE))
    npm = fetched("npm")
    await run(client, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    await run(client, npm, "run", "types")
    shutil.copy(PROGRAMS / "wrong.ts", client / "src")
    await run(client, npm, "run", "build")
    return client


def test_types_are_those_of_the_schemas(built: Path) -> None:
    """They were made again since the last change of the contract."""
    for file in (CLIENT / "src" / "messages").iterdir():
        assert file.read_text() == (built / "src" / "messages" / file.name).read_text(), file.name


async def test_a_run_by_the_client(
    place: Installation, http: httpx.AsyncClient, built: Path
) -> None:
    """Outcomes come to `call`; after an interruption the stream goes on behind its last frame."""
    shutil.copy(PROGRAMS / "use.mjs", built)
    own = str(uuid4())
    settings = place.settings
    async with cutting(str(http.base_url), b"graph.created") as url:
        where = {
            "brokers": [settings.kafka_bootstrap],
            "redisUrl": settings.redis,
            "topicPrefix": settings.topic_prefix,
            "redisPrefix": settings.redis_prefix,
            "url": url,
            "run": own,
        }
        found = json.loads(await run(built, fetched("node"), "use.mjs", json.dumps(where)))

    assert found["outcomes"] == [
        *("applied", "duplicate", "applied", "refused"),
        "unknown_graph_execution",
    ]
    assert found["offsets"] == sorted(found["offsets"])
    assert found["kv"]["outcome"] == "applied", found["kv"]
    assert found["seen"] == [
        *("graph.created", "node.added", "node.input_added", "graph.updated"),
        *("command.refused", "graph.updated", "graph.updated"),
    ]
    assert found["rest"] == found["seen"][2:]
    assert (found["refused"], found["late"]) == (404, True)
    assert found["unreachable"] == "ECONNREFUSED"
    row = await place.db.fetchrow("select * from graph_execution where id = $1", own)
    assert (row["status"], row["source_partition"]) == ("COMPLETED", found["partition"])
