"""Two local installations on one machine, each of which answers for itself."""

import json
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.whole.program import Program
from tests.worker import until

PATIENCE = 180.0  # seconds; two stacks start


@pytest.mark.slow
async def test_two_stacks(tmp_path: Path) -> None:
    """`up` twice, in two directories, with the usual settings: neither answers for the other."""
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    first, second = (Program(home, {}) for home in homes)
    async with AsyncExitStack() as both:
        one = await both.enter_async_context(first.running("up", "--json"))
        stacks = [await until(partial(_described, homes[0]), PATIENCE)]
        told = [await until(partial(_live, stacks[0]), PATIENCE)]
        two = await both.enter_async_context(second.running("up", "--json"))
        stacks.append(await until(partial(_described, homes[1]), PATIENCE))
        told.append(await until(partial(_live, stacks[1]), PATIENCE))
        for stack, live in zip(stacks, told, strict=True):
            assert live["foreign"] == []
            for role, url in stack["workers"].items():
                worker = await until(partial(_identified, url), PATIENCE)
                assert (worker["role"], worker["installation"]) == (role, live["installation"])
        for running in (one, two):
            running.send_signal(signal.SIGINT)
        for running in (one, two):
            await running.communicate()
    clusters = {live["installation"]["cluster_id"] for live in told}
    urls = [url for stack in stacks for url in (stack["http_url"], *stack["workers"].values())]
    assert (len(clusters), len(set(urls))) == (2, 8)


async def _described(home: Path) -> Any:
    """The content of stack.json once workers run; else None."""
    try:
        stack = json.loads((home / ".execstream" / "stack.json").read_text())
    except FileNotFoundError:
        return None
    return stack if stack["workers"] else None


async def _live(stack: dict[str, Any]) -> Any:
    """The live tables once all partitions are in them; else None."""
    live = await _got(f"{stack['http_url']}/v1/live/blocks")
    return live if live and live.get("missing") == [] else None


async def _identified(url: str) -> Any:
    """The identity that a worker reports, once it knows its cluster; else None."""
    worker = await _got(f"{url}/livez")
    return worker if worker and worker["installation"]["cluster_id"] else None


async def _got(url: str) -> Any:
    """The answer; None while no server listens."""
    try:
        async with httpx.AsyncClient(timeout=5, verify=False) as http:  # noqa: S501 - plain HTTP
            return (await http.get(url)).json()
    except httpx.TransportError:
        return None
