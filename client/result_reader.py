"""Reads in Postgres for the client: recorded outcomes, and the results of named writes.

Imported when the first of them is needed: asyncpg and the models take longer to import than all
the rest of the client, and a producer that only sends has no use for them.
"""

import asyncio
from contextlib import suppress
from typing import TypeVar

import asyncpg

from execstream.storage.connections import AWAY, connect
from execstream.storage.log.outcomes import look_at, recorded_outcome
from execstream.storage.log.run_partitions import partition_for
from execstream.storage.models.graph_execution import GraphExecution, GraphExecutionWithNodes
from execstream.storage.models.node_execution import NodeExecutionResult
from execstream.storage.reads.run_detail import get_graph_execution
from execstream.storage.reads.steps import get_node_execution
from execstream.streams.commands import Command
from execstream.streams.outcomes import Outcome

T = TypeVar("T")


class ResultReader:
    """Reads through one pool, which is opened when it is first needed."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._looking: dict[str, asyncio.Future[int | None]] = {}  # for partitions, by key

    async def pool(self) -> asyncpg.Pool:
        """Return the open pool."""
        async with self._opening:
            if self._pool is None:
                self._pool = await connect(self._dsn, self._schema)
            return self._pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def outcome(
        self, command: Command, topic: str, partition: int, offset: int
    ) -> Outcome | None:
        """Return the outcome of the command at that place, None while it is not known.

        While Postgres is unavailable nothing takes effect, and it may return in time.
        """
        with suppress(*AWAY):
            return await recorded_outcome(await self.pool(), command, topic, partition, offset)
        return None

    async def has_passed(self, topic: str, partition: int, offset: int) -> bool:
        """Return whether workers are past the offset; false while Postgres does not answer."""
        with suppress(*AWAY):
            return (await look_at(await self.pool(), topic, partition, offset)).source is not None
        return False

    async def partition(self, command: Command) -> int | None:
        """Return the partition of the run that `command` is about; None where its key decides, as
        it does while Postgres does not answer."""
        if (key := command.key) not in self._looking:
            looking = asyncio.ensure_future(self._partition(command))
            looking.add_done_callback(lambda _: self._looking.pop(key, None))
            self._looking[key] = looking
        # Callers that wait for the same answer go on in the order in which they came, so commands
        # about one run are sent in the order of their calls.
        return await asyncio.shield(self._looking[key])

    async def _partition(self, command: Command) -> int | None:
        with suppress(*AWAY):
            return await partition_for(await self.pool(), command)
        return None

    async def run(self, user_id: str, graph_exec_id: str) -> GraphExecution:
        """Return a run without its steps."""
        run = await get_graph_execution(await self.pool(), user_id, graph_exec_id)
        return _still_there(run, graph_exec_id)

    async def run_with_steps(self, user_id: str, graph_exec_id: str) -> GraphExecutionWithNodes:
        """Return a run with all its steps."""
        run = await get_graph_execution(
            await self.pool(), user_id, graph_exec_id, include_node_executions=True
        )
        return _still_there(run, graph_exec_id)

    async def step(
        self, user_id: str, graph_exec_id: str, node_exec_id: str
    ) -> NodeExecutionResult:
        """Return a step of a run."""
        step = await get_node_execution(
            await self.pool(), node_exec_id, graph_exec_id=graph_exec_id, user_id=user_id
        )
        return _still_there(step, node_exec_id)


def _still_there(found: T | None, execution_id: str) -> T:
    if found is None:
        raise LookupError(f"{execution_id} was updated, then deleted before it could be read back.")
    return found
