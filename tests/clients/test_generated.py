"""Clients generated from OpenAPI: the generators have no complaint, and their clients work."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.clients.program import PATIENCE, run
from tests.fetching import program as fetched
from tests.install.environments import Environment
from tests.orders import Orders
from tests.worker import Installation

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(2 * PATIENCE)]

PYTHON = ("openapi-python-client==0.29.1",)
TYPESCRIPT = {"openapi-typescript": "7.13.0", "typescript": "5.9.3"}
# Every module, one read, and one command.
USE = """
import importlib, pkgutil, sys
from uuid import UUID
import execstream_client
from execstream_client import Client
from execstream_client.api.commands import post_command_v1_commands_post as sending
from execstream_client.api.runs import list_runs_v1_executions_get as reading
from execstream_client.models import StartGraph, StartGraphType
for module in pkgutil.walk_packages(execstream_client.__path__, "execstream_client."):
    importlib.import_module(module.name)
client = Client(base_url=sys.argv[1], timeout=60)
[run] = reading.sync(client=client, user_id=sys.argv[2]).data
start = StartGraph(StartGraphType.GRAPH_START, user_id=sys.argv[2], graph_exec_id=UUID(run.id))
print(run.id, sending.sync(client=client, body=start, prefer="wait=30").outcome)
"""
USE_TYPES = """
import type { paths } from "./api";
type Runs = paths["/v1/executions"]["get"]["responses"][200]["content"]["application/json"];
export const ids = (runs: Runs): string[] => runs.data.map((run) => run.id);
type Sent = paths["/v1/commands"]["post"]["requestBody"]["content"]["application/json"];
const run = { user_id: "ada", graph_exec_id: "0198c8f0-0000-7000-8000-0000000000aa" };
export const start: Sent = { type: "graph.start", ...run };
export const share: Sent = { type: "graph.share", is_shared: false, ...run };
// @ts-expect-error
export const incomplete: Sent = { type: "graph.share", ...run };
// @ts-expect-error
export const unknown: Sent = { type: "graph.stop", ...run };
"""


async def _described(http: httpx.AsyncClient, folder: Path) -> Path:
    file = folder / "openapi.json"
    file.write_text((await http.get("/openapi.json")).text)
    return file


async def test_a_client_in_python(
    place: Installation, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """It is generated without a warning, every module can be imported, it reads a run and sends a
    command of its type."""
    environment = Environment.create(tmp_path / "environment")
    environment.install(*PYTHON)
    binaries = environment.python.parent
    variables = {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    options = ("--path", await _described(http, tmp_path), "--output-path", "out")
    generate = (binaries / "openapi-python-client", "generate", "--fail-on-warning")
    await run(tmp_path, *generate, *options, variables=variables)
    orders = Orders(user_id="generated")
    await place.put([orders.create()])
    await place.drained()

    read = (environment.python, "-W", "error", "-c", USE, str(http.base_url), "generated")
    assert (await run(tmp_path / "out", *read)).split() == [orders.run_id, "applied"]


async def test_types_in_typescript(http: httpx.AsyncClient, tmp_path: Path) -> None:
    """They are generated, and the compiler takes them and a use of them; a command has the
    fields of its type."""
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": TYPESCRIPT}))
    (tmp_path / "use.ts").write_text(USE_TYPES)
    await run(tmp_path, fetched("npm"), "install", "--no-audit", "--no-fund")
    described = await _described(http, tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    await run(tmp_path, programs / "openapi-typescript", described, "-o", "api.d.ts")
    await run(tmp_path, programs / "tsc", "--noEmit", "--strict", "use.ts")
