"""The client that the functions of `execstream.execution` share, and where steps belong.

The run and owner of a step, and the block of a node, never change: they are kept once found.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import asyncpg

from execstream.client.execution_client import ExecutionClient
from execstream.config.settings import load_settings, variable
from execstream.storage.connections import IMPORT, open_pool
from execstream.storage.original_address import parsed_address
from execstream.storage.querying import parse_id
from execstream.storage.reads.read_errors import AmbiguousStep
from execstream.streams.errors import NotConfigured

MOST_KEPT = 100_000  # answers of each kind; the oldest go first

_OWNER = "select user_id from graph_execution where id = $1"
_RUN_OF_STEP = """
select step.graph_exec_id::text, run.user_id
  from node_execution step join graph_execution run on run.id = step.graph_exec_id
 where step.id = $1 limit 2
"""
_BLOCKS = """select id, "agentBlockId" from "AgentNode" where id = any($1::text[])"""

T = TypeVar("T")


class StepRun(NamedTuple):
    """The run of a step, with its owner."""

    graph_exec_id: str
    user_id: str


class SharedClient:
    """A started client with its pool; `db` reads from this installation."""

    def __init__(self, client: ExecutionClient, db: asyncpg.Pool) -> None:
        self.client, self.db = client, db
        self._original: asyncpg.Pool | None = None
        self._owners: dict[str, str] = {}
        self._runs: dict[str, StepRun] = {}
        self._blocks: dict[str, str] = {}
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Send what is waited for, and close all connections."""
        await self.client.__aexit__(None, None, None)
        if self._original is not None:
            await self._original.close()

    async def owner_of(self, graph_exec_id: str) -> str | None:
        """Return the owner of a run; None when there is no such run."""
        known = self._owners.get(graph_exec_id)
        if known is None:
            known = await self.db.fetchval(_OWNER, parse_id(graph_exec_id))
            if known is not None:
                _keep(self._owners, graph_exec_id, known)
        return known

    async def run_of(self, node_exec_id: str) -> StepRun:
        """Return where a step is. Raises ValueError for an unknown one, and AmbiguousStep."""
        known = self._runs.get(node_exec_id)
        if known is not None:
            return known
        rows = await self.db.fetch(_RUN_OF_STEP, parse_id(node_exec_id))
        if not rows:
            raise ValueError(f"Step {node_exec_id} was not found.")
        if len(rows) > 1:
            raise AmbiguousStep(node_exec_id, (row[0] for row in rows))
        return _keep(self._runs, node_exec_id, StepRun(*rows[0]))

    async def blocks_of(self, node_ids: Iterable[str]) -> dict[str, str]:
        """Return the blocks of nodes, from the original's table AgentNode. Raises ValueError for an
        unknown node."""
        wanted = set(node_ids)
        missing = wanted - self._blocks.keys()
        if missing:
            for node_id, block_id in await (await self._nodes()).fetch(_BLOCKS, list(missing)):
                _keep(self._blocks, node_id, block_id)
        if unknown := wanted - self._blocks.keys():
            raise ValueError(f"AgentNode has no node {min(unknown)}.")
        return {node_id: self._blocks[node_id] for node_id in wanted}

    async def _nodes(self) -> asyncpg.Pool:
        async with self._opening:
            if self._original is None:
                dsn = load_settings().original_dsn
                if dsn is None:
                    raise NotConfigured(
                        f"The blocks of nodes are unknown: set {variable('original_dsn')} to the "
                        "database with the table AgentNode."
                    )
                self._original = await open_pool(*parsed_address(dsn), IMPORT, size=4)
            return self._original


def _keep(kept: dict[str, T], key: str, value: T) -> T:
    if len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]
    kept[key] = value
    return value


class _Shared:
    """The client of this process, for the event loop that runs."""

    def __init__(self) -> None:
        self.client: SharedClient | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.opening = asyncio.Lock()


_shared = _Shared()


async def shared_client() -> SharedClient:
    """Return the client, started for the running event loop when it is first needed."""
    if _shared.loop is not asyncio.get_running_loop():  # the one of before has ended
        _shared.__init__()  # type: ignore[misc]
        _shared.loop = asyncio.get_running_loop()
    async with _shared.opening:
        if _shared.client is None:
            client = await ExecutionClient().__aenter__()
            _shared.client = SharedClient(client, await client.database())
        return _shared.client


async def disconnect() -> None:
    """Close the shared client; the next call of a function opens one again."""
    client, _shared.client = _shared.client, None
    if client is not None:
        await client.close()
