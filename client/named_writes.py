"""The writing functions of the original data layer by their names, as commands with awaited
outcomes.

Each returns the result of the original, read back after the command took effect; a command that
took effect before, by its id, counts as well. `at` is the time of the change, now by default.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from execstream.client.errors import CommandDead, CommandQuarantined, CommandRefused
from execstream.client.ids import uuid7
from execstream.storage.reads.share_tokens import SHORTEST, hash_share_token
from execstream.streams.outcomes import Applied, Dead, Duplicate, Outcome, Quarantined, Refused
from execstream.streams.rules import derived_id
from execstream.streams.statuses import ExecutionStatus

if TYPE_CHECKING:
    from execstream.client.result_reader import ResultReader
    from execstream.storage.models.graph_execution import GraphExecution, GraphExecutionWithNodes
    from execstream.storage.models.node_execution import NodeExecutionResult
    from execstream.storage.models.stats import GraphExecutionStats, NodeExecutionStats

TIMEOUT = 10.0  # seconds to wait for an outcome

Json = Any
Document = Mapping[str, Json]


class Writing(ABC):
    """One method per kind of change.

    All raise `CommandRefused`, `CommandDead` and `CommandQuarantined` when the command changed
    nothing, within `timeout` seconds `execstream.NotDelivered` when Kafka did not confirm it and
    `execstream.OutcomeUnknown` when no reply comes, and ValueError, before anything is sent, when
    the arguments do not make a valid command.
    """

    @abstractmethod
    async def call(self, command: Mapping[str, Any], timeout: float) -> Outcome:  # noqa: ASYNC109
        """Send a command and wait for its outcome."""

    @abstractmethod
    def _results(self) -> "ResultReader":
        """Reads of results in Postgres."""

    async def create_graph_execution(
        self,
        graph_id: str,
        graph_version: int,
        starting_nodes_input: Sequence[tuple[str, Document]],
        inputs: Document | None,
        user_id: str,
        preset_id: str | None = None,
        credential_inputs: Document | None = None,
        nodes_input_masks: Document | None = None,
        parent_graph_exec_id: str | None = None,
        *,
        block_ids: Mapping[str, str],
        graph_exec_id: str | None = None,
        dry_run: bool = False,
        attributes: Mapping[str, str] | None = None,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> "GraphExecutionWithNodes":
        """Create a run, INCOMPLETE, with its starting steps QUEUED.

        `starting_nodes_input` has the node and the inputs by pin of every starting step,
        `block_ids` the block of every such node. `attributes` are
        texts by key to find it by. Without `graph_exec_id` the run's id follows
        from `command_id`, if that is given.
        """
        if graph_exec_id is None:
            graph_exec_id = derived_id(command_id, "graph") if command_id else uuid7()
        starting_nodes = [
            {"node_id": node_id, "block_id": block_ids[node_id], "inputs": values}
            for node_id, values in starting_nodes_input
        ]
        await self._effect(
            "graph.create",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            graph_id=graph_id,
            graph_version=graph_version,
            starting_nodes=starting_nodes,
            inputs=inputs,
            preset_id=preset_id,
            credential_inputs=credential_inputs,
            nodes_input_masks=nodes_input_masks,
            parent_graph_exec_id=parent_graph_exec_id,
            dry_run=dry_run,
            attributes=attributes,
        )
        return await self._results().run_with_steps(user_id, graph_exec_id)

    async def update_graph_execution_start_time(
        self,
        graph_exec_id: str,
        *,
        user_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> "GraphExecution":
        """Move a run to RUNNING and set its `started_at`, again when it is resumed."""
        await self._effect(
            "graph.start",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
        )
        return await self._results().run(user_id, graph_exec_id)

    async def update_graph_execution_stats(
        self,
        graph_exec_id: str,
        status: ExecutionStatus | None = None,
        stats: "GraphExecutionStats | Document | None" = None,
        *,
        user_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> "GraphExecution":
        """Move a run, replace its stats (in the names they are stored under), or both."""
        await self._effect(
            "graph.update",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            status=status,
            stats=stats,
        )
        return await self._results().run(user_id, graph_exec_id)

    async def update_graph_execution_share_status(
        self,
        execution_id: str,
        user_id: str,
        is_shared: bool,
        share_token: str | None,
        shared_at: datetime | None = None,
        *,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> None:
        """Share a run with the holder of the token, or stop it; only the token's hash travels.

        `execstream.new_share_token` makes tokens; one of less than 22 characters is a ValueError.
        """
        if is_shared and share_token is not None and len(share_token) < SHORTEST:
            raise ValueError(
                f"A share token of {len(share_token)} characters can be guessed: it needs "
                f"{SHORTEST}. `execstream.new_share_token` makes one."
            )
        await self._effect(
            "graph.share",
            (shared_at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=execution_id,
            is_shared=is_shared,
            share_token_hash=hash_share_token(share_token) if share_token else None,
        )

    async def delete_graph_execution(
        self,
        graph_exec_id: str,
        user_id: str,
        soft_delete: bool = True,
        *,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> None:
        """Hide a run from all reads, or erase it for good."""
        await self._effect(
            "graph.delete",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            hard=not soft_delete,
        )

    async def upsert_execution_input(
        self,
        node_id: str,
        graph_exec_id: str,
        input_name: str,
        input_data: Json,
        node_exec_id: str | None = None,
        *,
        user_id: str,
        block_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> "tuple[NodeExecutionResult, dict[str, Json]]":
        """Give a value to the oldest step of the node that lacks the pin, or to a new one.

        Returns the step and all its inputs so far. With `node_exec_id` only that step will do.
        """
        applied = await self._effect(
            "node.input",
            (at, command_id, timeout),
            {"input_data": input_data},
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            node_id=node_id,
            block_id=block_id,
            input_name=input_name,
            node_exec_id=node_exec_id,
        )
        step = await self._results().step(user_id, graph_exec_id, applied.node_exec_id or "")
        return step, step.input_data

    async def upsert_execution_output(
        self,
        node_exec_id: str,
        output_name: str,
        output_data: Json,
        *,
        user_id: str,
        graph_exec_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> None:
        """Append a value to the output of a step on a pin."""
        await self._effect(
            "node.output",
            (at, command_id, timeout),
            {"output_data": output_data},
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            node_exec_id=node_exec_id,
            output_name=output_name,
        )

    async def update_node_execution_status(
        self,
        node_exec_id: str,
        status: ExecutionStatus,
        execution_data: Document | None = None,
        stats: "NodeExecutionStats | Document | None" = None,
        *,
        user_id: str,
        graph_exec_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> "NodeExecutionResult":
        """Move a step; QUEUED needs its `execution_data`."""
        await self._effect(
            "node.update",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            node_exec_id=node_exec_id,
            status=status,
            execution_data=execution_data,
            stats=stats,
        )
        return await self._results().step(user_id, graph_exec_id, node_exec_id)

    async def update_node_execution_status_batch(
        self,
        node_exec_ids: Sequence[str],
        status: ExecutionStatus,
        stats: "NodeExecutionStats | Document | None" = None,
        *,
        user_id: str,
        graph_exec_id: str,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> int:
        """Move those steps of a run that may move; return their number."""
        applied = await self._effect(
            "node.update_many",
            (at, command_id, timeout),
            user_id=user_id,
            graph_exec_id=graph_exec_id,
            node_exec_ids=node_exec_ids,
            status=status,
            stats=stats,
        )
        return applied.updated or 0

    async def set_execution_kv_data(
        self,
        user_id: str,
        node_exec_id: str,
        key: str,
        data: Json,
        *,
        at: datetime | None = None,
        command_id: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> Json:
        """Set one of a user's key-values; returns the data."""
        await self._effect(
            "kv.set",
            (at, command_id, timeout),
            {"data": data},
            user_id=user_id,
            node_exec_id=node_exec_id,
            key=key,
        )
        return data

    async def _effect(
        self,
        kind: str,
        when: tuple[datetime | None, str | None, float],
        values: Document | None = None,
        **fields: Json,
    ) -> Applied:
        """Call a command: None among `fields` means not given, among `values` it is a value."""
        at, command_id, timeout = when
        command_id = command_id or uuid7()
        given = {name: value for name, value in fields.items() if value is not None}
        command = {"type": kind, "id": command_id, **given, **(values or {})}
        if at is not None:
            command["at"] = at
        outcome = await self.call(command, timeout)
        if isinstance(outcome, Refused):
            raise CommandRefused(outcome.reason, outcome.detail, command_id)
        if isinstance(outcome, Dead):
            raise CommandDead(outcome.reason, outcome.detail, command_id)
        if isinstance(outcome, Quarantined):
            raise CommandQuarantined(outcome.reason, outcome.detail, command_id)
        return outcome.first_outcome if isinstance(outcome, Duplicate) else outcome
