"""The original's functions by one import, through real workers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from execstream import execution
from execstream.execution import ExecutionStatus as S
from execstream.models import GraphExecutionStats
from tests.recovery.original_tables import OriginalDatabase, original
from tests.worker import Installation, Worker

USER = "ada"


@pytest.fixture
async def nodes(
    place: Installation, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OriginalDatabase]:
    """The original's database with two nodes, and the settings of the module's installation."""
    assert worker.is_alive
    async with original(place.settings.postgres) as tables:
        await tables.db.execute(
            """insert into "AgentNode" values ('first', 'block-1'), ('second', 'block-2')"""
        )
        for name, value in place.settings.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("EXECSTREAM_ORIGINAL_DSN", tables.dsn)
        yield tables
        await execution.disconnect()


@pytest.mark.usefixtures("nodes")
async def test_a_run_by_the_original_s_calls() -> None:
    """From its creation to its end, without naming user, run or block where the original names
    none."""
    run = await execution.create_graph_execution(
        "graph", 1, [("first", {"in": 1})], {"in": 1}, USER
    )
    [first] = run.node_executions
    started = await execution.update_graph_execution_start_time(run.id)
    await execution.update_node_execution_status(first.node_exec_id, S.RUNNING)
    await execution.upsert_execution_output(first.node_exec_id, "out", {"x": 1.5})
    second, inputs = await execution.upsert_execution_input("second", run.id, "in", {"x": 1.5})
    await execution.update_node_execution_status(second.node_exec_id, S.QUEUED, inputs)
    moved = await execution.update_node_execution_status_batch(
        [first.node_exec_id, second.node_exec_id], S.FAILED, {"error": "boom"}
    )
    ended = await execution.update_graph_execution_stats(
        run.id, S.COMPLETED, GraphExecutionStats(cost=3)
    )
    kept = await execution.set_execution_kv_data(USER, first.node_exec_id, "key", [0])
    token = str(uuid4())
    await execution.update_graph_execution_share_status(
        run.id, USER, True, token, datetime.now(UTC)
    )
    shared = await execution.get_graph_execution_by_share_token(token)
    outputs = await execution.get_execution_outputs_by_node_exec_id(first.node_exec_id)
    steps = await execution.get_node_executions(run.id)
    await execution.delete_graph_execution(run.id, USER)

    assert started is not None
    assert ended is not None
    assert ended.stats is not None
    assert (started.status, ended.status, ended.stats.cost, moved) == (S.RUNNING, S.COMPLETED, 3, 2)
    assert [(step.block_id, step.status) for step in steps] == [
        ("block-1", S.FAILED),
        ("block-2", S.FAILED),
    ]
    assert (outputs, kept, shared and shared.id) == ({"out": [{"x": 1.5}]}, [0], run.id)
    assert await execution.get_graph_execution(USER, run.id) is None


@pytest.mark.usefixtures("nodes")
async def test_forbidden_and_unknown_are_answered_as_in_the_original(place: Installation) -> None:
    """A forbidden move returns the unchanged row, and is kept as a refusal; unknown executions and
    wrong arguments are a ValueError, or None where the original has None."""
    run = await execution.create_graph_execution("graph", 1, [("first", {})], None, USER)
    [step] = run.node_executions
    unmoved = await execution.update_node_execution_status(step.node_exec_id, S.COMPLETED)
    unended = await execution.update_graph_execution_stats(run.id, S.COMPLETED)
    refused = await place.db.fetchval(
        "select count(*) from refusal where graph_exec_id = $1", run.id
    )

    assert (unmoved.status, unended and unended.status, refused) == (S.QUEUED, S.INCOMPLETE, 2)
    none_moved = await execution.update_node_execution_status_batch(
        [step.node_exec_id], S.COMPLETED
    )
    assert none_moved == 0
    assert await execution.update_graph_execution_start_time(str(uuid4())) is None
    with pytest.raises(ValueError, match="was not found"):
        await execution.update_node_execution_status(str(uuid4()), S.RUNNING)
    with pytest.raises(ValueError, match="nothing_to_change"):
        await execution.update_graph_execution_stats(run.id)
    with pytest.raises(ValueError, match="no node gone"):
        await execution.upsert_execution_input("gone", run.id, "in", 1)
    with pytest.raises(ValueError, match="not_open_for_input"):
        await execution.upsert_execution_input("first", run.id, "in", 1, step.node_exec_id)
