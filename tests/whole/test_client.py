"""`ExecutionClient` against a real worker: places, outcomes, and the original's functions."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec import Raw

from execstream import CommandDead, CommandRefused, Dead, ExecutionClient, OutcomeUnknown, Refused
from execstream.client import execution_client
from execstream.client.ids import uuid7
from execstream.devstack import Addresses
from execstream.models import (
    ExecutionStatus,
    GraphExecutionStats,
    GraphExecutionWithNodes,
    NodeExecutionStats,
)
from execstream.reads import get_execution_kv_data, get_graph_execution_by_share_token
from execstream.streams.commands import AddNodeOutput
from execstream.streams.decoding import decode
from execstream.streams.outcomes import Applied, DeadReason, Duplicate, Refusal
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from tests.orders import DAWN
from tests.worker import Installation, Worker, installation

NOWHERE = "redis://127.0.0.1:1/0"
OWNER = "ada"
S = ExecutionStatus


@pytest.fixture
async def client(
    place: Installation, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ExecutionClient]:
    """A client with all addresses, and a worker that applies its commands."""
    assert worker.is_alive
    set_variables(monkeypatch, place)
    async with ExecutionClient() as own:
        yield own


@pytest.fixture
async def deaf_client(
    place: Installation, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ExecutionClient]:
    """A client that finds no Redis."""
    assert worker.is_alive
    set_variables(monkeypatch, place)
    async with ExecutionClient(redis_url=NOWHERE) as own:
        yield own


def set_variables(monkeypatch: pytest.MonkeyPatch, place: Installation) -> None:
    for name, value in place.settings.environment().items():
        monkeypatch.setenv(name, value)


def output(run_id: str, data: Any = 1, **fields: Any) -> dict[str, Any]:
    command = {"type": "node.output", "user_id": OWNER, "graph_exec_id": run_id}
    about = {"node_exec_id": str(uuid4()), "output_name": "out", "output_data": data}
    return command | about | fields


async def created(client: ExecutionClient, **fields: Any) -> GraphExecutionWithNodes:
    """A run with the starting nodes `first` and `second`."""
    return await client.create_graph_execution(
        "graph",
        1,
        [("first", {"a": 1}), ("second", {})],
        {"question": "?"},
        OWNER,
        block_ids={"first": "block-1", "second": "block-2"},
        **fields,
    )


def test_import_is_light() -> None:
    """`import execstream` loads no client of any server."""
    heavy = "{'aiokafka', 'asyncpg', 'redis', 'faust', 'pydantic'} & set(sys.modules)"
    code = f"import sys, execstream; assert not {heavy}; execstream.ExecutionClient"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_sort_by_time() -> None:
    """Ids are UUIDs of version 7 with the variant of RFC 9562, the time first."""
    before = time.time_ns() // 1_000_000
    made = UUID(uuid7())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after
    assert len({uuid7() for _ in range(1000)}) == 1000


# ---- send ------------------------------------------------------------------------------------


async def test_send_tells_the_place(place: Installation, client: ExecutionClient) -> None:
    """The record is at the position that `send` returns, under its key, with `id`, `at` and its
    headers.
    """
    run_id = str(uuid4())
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    sent = await client.send(output(run_id), headers={"traceparent": trace})

    assert sent.topic == place.topic(COMMANDS.name)
    assert sent.partition == partition_of(run_id.encode(), COMMANDS.partitions)
    record = await record_at(place, sent.partition, sent.offset)
    assert record.key == run_id.encode()
    assert record.headers == (("traceparent", trace),)
    command = json.loads(record.value)
    assert UUID(command["id"]).version == 7
    assert datetime.fromisoformat(command["at"]).utcoffset() is not None


async def test_typed_commands(place: Installation, client: ExecutionClient) -> None:
    """A command of `execstream.streams.commands` is sent as it is; numbers keep their digits."""
    command = AddNodeOutput(
        id=str(uuid4()),
        at="2026-03-01T06:30:00+01:00",
        user_id=OWNER,
        graph_exec_id=str(uuid4()),
        node_exec_id=str(uuid4()),
        output_name="out",
        output_data=Raw(b"1.10"),
    )

    sent = await client.send(command)

    value = (await record_at(place, sent.partition, sent.offset)).value
    assert json.loads(value)["id"] == command.id
    assert b'"output_data":1.10' in value


async def test_order(place: Installation, client: ExecutionClient) -> None:
    """Commands sent at the same time stand in the order of the calls."""
    run_id = str(uuid4())

    sent = await asyncio.gather(*(client.send(output(run_id, data=n)) for n in range(2_000)))

    assert [one.offset for one in sent] == sorted(one.offset for one in sent)
    values = {(record.partition, record.offset): record for record in await place.commands()}
    assert [json.loads(values[one[1:]].value)["output_data"] for one in sent] == [*range(2_000)]


async def test_nothing_is_left_behind(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the context sends the waiting commands."""
    set_variables(monkeypatch, place)
    async with ExecutionClient() as other:
        sending = asyncio.create_task(other.send(output(str(uuid4()))))
        await asyncio.sleep(0)  # until it waits

    sent = await sending
    assert await record_at(place, sent.partition, sent.offset)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"graph_exec_id": "no uuid"}, r"invalid_field.*graph_exec_id"),
        ({"type": "node.outputs"}, "unknown_type"),
        ({"at": datetime(2026, 3, 1)}, r"invalid_field.*at"),  # noqa: DTZ001 - that is wrong
        ({"output_name": ""}, r"invalid_field.*output_name"),
        ({"output_data": "x" * 2**23}, "too_large"),
        ({"v": 2}, "unsupported_version"),
    ],
)
async def test_bad_commands_are_not_sent(
    place: Installation, client: ExecutionClient, fields: dict[str, Any], complaint: str
) -> None:
    """A future dead letter raises ValueError instead."""
    before = await place._ends(COMMANDS.name)
    for attempt in (client.send, client.call):
        with pytest.raises(ValueError, match=complaint):
            await attempt(output(str(uuid4())) | fields)
    assert await place._ends(COMMANDS.name) == before


# ---- call ------------------------------------------------------------------------------------

OUTCOMES = ["client", "deaf_client"]


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients send numbers that only the worker finds not to be storable."""
    monkeypatch.setattr(execution_client, "decode", partial(decode, bounded=False))


@pytest.fixture(params=OUTCOMES)
def any_client(request: pytest.FixtureRequest) -> ExecutionClient:
    """A client with Redis and one without: the replies must be the same."""
    found: ExecutionClient = request.getfixturevalue(request.param)
    return found


@pytest.mark.usefixtures("unjudged")
async def test_outcomes(any_client: ExecutionClient) -> None:
    """Applied, duplicate, refused and dead are returned, by Redis or by Postgres."""
    run = await created(any_client)
    first, second = (step.node_exec_id for step in run.node_executions)
    about = {"user_id": OWNER, "graph_exec_id": run.id}
    call = any_client.call

    start = {"type": "graph.start", "id": str(uuid4())} | about
    assert await call(start) == Applied(5, 5)
    assert await call(start) == Duplicate(Applied(5, 5))
    assert await call({"type": "graph.start"} | about) == Refused(
        Refusal.ILLEGAL_TRANSITION,
        {
            "found": "RUNNING",
            "wanted": "RUNNING",
            "allowed_from": ["INCOMPLETE", "QUEUED", "TERMINATED", "REVIEW"],
        },
    )
    assert await call(output(run.id, node_exec_id=first)) == Applied(6, 6, first)
    huge = await call(output(run.id, data=Raw(b"1e200000"), node_exec_id=first))
    assert isinstance(huge, Dead)
    assert huge.reason is DeadReason.NOT_STORABLE
    unknown = str(uuid4())
    many = {"type": "node.update_many", "node_exec_ids": [first, second, unknown]}
    assert await call(many | about | {"status": "RUNNING"}) == Applied(
        7, 8, None, 2, {unknown: None}
    )


async def test_outcomes_of_key_values(any_client: ExecutionClient) -> None:
    """A key-value has outcomes without a place in a run."""
    command: dict[str, Any] = {"type": "kv.set", "id": str(uuid4()), "user_id": OWNER}
    command |= {"key": str(uuid4()), "data": None, "node_exec_id": str(uuid4()), "at": DAWN}

    assert await any_client.call(command) == Applied()
    assert await any_client.call(command) == Duplicate(Applied())
    late = command | {"id": str(uuid4()), "at": DAWN - timedelta(days=1)}
    refused = await any_client.call(late)
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.SUPERSEDED


async def test_many_calls_at_once(client: ExecutionClient) -> None:
    """Each gets its own outcome."""
    run = await created(client)
    step = run.node_executions[0].node_exec_id

    outcomes = await asyncio.gather(
        *(client.call(output(run.id, data=n, node_exec_id=step)) for n in range(300))
    )

    assert outcomes == [Applied(seq, seq, step) for seq in range(5, 305)]


async def test_one_id_in_two_runs(client: ExecutionClient) -> None:
    """Ids are unique in a run only; calls with the same id at the same time are not mixed up."""
    runs = [await created(client), await created(client)]
    shared = {"type": "graph.start", "id": str(uuid4()), "user_id": OWNER}
    await client.send({"type": "graph.start", "user_id": OWNER, "graph_exec_id": runs[1].id})

    outcomes = await asyncio.gather(
        *(client.call(shared | {"graph_exec_id": run.id}) for run in runs)
    )

    assert outcomes[0] == Applied(5, 5)
    assert isinstance(outcomes[1], Refused)


async def test_nobody_applies(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker the outcome is unknown, and the error has the command's id."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as idle:
        set_variables(monkeypatch, idle)
        async with ExecutionClient() as client:
            command_id = str(uuid4())
            with pytest.raises(OutcomeUnknown, match="Is a worker running") as raised:
                await client.call(output(str(uuid4()), id=command_id), timeout=0.7)
    assert raised.value.command_id == command_id


# ---- the original's functions ------------------------------------------------------------------


async def test_a_life_of_a_run(client: ExecutionClient) -> None:
    """Every writing function does as its name promises and returns the original's result."""
    run = await created(client, at=DAWN)
    assert (run.status, run.created_at, run.inputs) == (S.INCOMPLETE, DAWN, {"question": "?"})
    steps = {step.node_id: step for step in run.node_executions}
    assert steps["first"].input_data == {"a": 1}
    assert steps["first"].status is S.QUEUED
    mine: Mapping[str, Any] = {"user_id": OWNER, "graph_exec_id": run.id}
    first = steps["first"].node_exec_id

    queued = await client.update_graph_execution_stats(run.id, S.QUEUED, user_id=OWNER)
    assert queued.status is S.QUEUED
    started = await client.update_graph_execution_start_time(
        run.id, user_id=OWNER, at=DAWN + timedelta(seconds=1)
    )
    assert (started.status, started.started_at) == (S.RUNNING, DAWN + timedelta(seconds=1))

    step = await client.update_node_execution_status(first, S.RUNNING, **mine)
    assert step.status is S.RUNNING
    await client.upsert_execution_output(first, "out", {"x": None}, **mine)
    await client.upsert_execution_output(first, "out", None, **mine)
    step = await client.update_node_execution_status(
        first, S.COMPLETED, stats={"walltime": 1.5}, **mine
    )
    assert step.output_data == {"out": [{"x": None}, None]}
    assert step.stats is not None
    assert step.stats.walltime == 1.5

    third, inputs = await client.upsert_execution_input(
        "third", run.id, "a", [1], user_id=OWNER, block_id="block-3"
    )
    assert (third.status, inputs) == (S.INCOMPLETE, {"a": [1]})
    same, inputs = await client.upsert_execution_input(
        "third", run.id, "b", None, user_id=OWNER, block_id="block-3"
    )
    assert (same.node_exec_id, inputs) == (third.node_exec_id, {"a": [1], "b": None})
    third = await client.update_node_execution_status(
        third.node_exec_id, S.QUEUED, {"a": 2}, **mine
    )
    assert third.input_data == {"a": 2}
    ids = [steps["second"].node_exec_id, third.node_exec_id, first]
    assert await client.update_node_execution_status_batch(ids, S.TERMINATED, **mine) == 2

    stats = GraphExecutionStats(cost=7, walltime=2.5, node_count=3)
    ended = await client.update_graph_execution_stats(run.id, S.COMPLETED, stats, user_id=OWNER)
    assert ended.status is S.COMPLETED
    assert ended.stats is not None
    assert (ended.stats.cost, ended.stats.duration, ended.stats.node_exec_count) == (7, 2.5, 3)

    kept = await client.set_execution_kv_data(OWNER, first, "memory", {"n": 1})
    assert kept == {"n": 1}
    assert await get_execution_kv_data(await client.database(), OWNER, "memory") == {"n": 1}


async def test_numbers_keep_their_digits(client: ExecutionClient) -> None:
    """A number beyond a float stays a number, in models, in documents and in values."""
    run = await created(client)
    about: Mapping[str, Any] = {"user_id": OWNER, "graph_exec_id": run.id}
    step = run.node_executions[0].node_exec_id
    exact = Decimal("12345678901234567890.123")

    stats = NodeExecutionStats.model_validate({"price": exact})
    told = await client.update_node_execution_status(step, S.RUNNING, stats=stats, **about)
    assert told.stats is not None
    assert told.stats.model_extra == {"price": exact}
    await client.upsert_execution_output(step, "out", exact, **about)
    ended = await client.update_node_execution_status(
        step, S.COMPLETED, stats={"price": exact}, **about
    )
    assert ended.stats is not None
    assert ended.stats.model_extra == {"price": exact}
    assert ended.output_data == {"out": [exact]}


async def test_tokens_that_can_be_guessed(client: ExecutionClient) -> None:
    """Nothing is shared with a short one; to stop sharing, any will do."""
    run = await created(client)
    for token in ("", "x" * 21):
        with pytest.raises(ValueError, match=r"can be guessed.*new_share_token"):
            await client.update_graph_execution_share_status(run.id, OWNER, True, token)
    await client.update_graph_execution_share_status(run.id, OWNER, True, "x" * 22)
    await client.update_graph_execution_share_status(run.id, OWNER, False, "x")


async def test_sharing(place: Installation, client: ExecutionClient) -> None:
    """A holder of the token sees the run until it is shared no more; the token itself never
    travels.
    """
    run = await created(client)
    token = f"token-{uuid4()}"
    db = await client.database()

    await client.update_graph_execution_share_status(run.id, OWNER, True, token, DAWN)

    shared = await get_graph_execution_by_share_token(db, token)
    assert shared is not None
    assert shared.id == run.id
    assert not any(token.encode() in record.value for record in await place.commands())

    await client.update_graph_execution_share_status(run.id, OWNER, False, None)

    assert await get_graph_execution_by_share_token(db, token) is None


async def test_deleting(client: ExecutionClient) -> None:
    """A deleted run takes nothing more, but that it be erased."""
    run = await created(client)

    await client.delete_graph_execution(run.id, OWNER)

    with pytest.raises(CommandRefused, match="deleted"):
        await client.update_graph_execution_start_time(run.id, user_id=OWNER)
    await client.delete_graph_execution(run.id, OWNER, soft_delete=False)
    with pytest.raises(CommandRefused, match="deleted"):
        await client.delete_graph_execution(run.id, OWNER, soft_delete=False)


async def test_again_with_the_same_id(client: ExecutionClient) -> None:
    """A repeated call has its effect once and returns the same."""
    command_id = str(uuid4())

    runs = [await created(client, command_id=command_id, at=DAWN) for _ in range(2)]

    assert runs[0] == runs[1]
    about: Mapping[str, Any] = {"user_id": OWNER, "command_id": str(uuid4())}
    for _ in range(2):
        run = await client.update_graph_execution_stats(runs[0].id, S.RUNNING, **about)
        assert run.status is S.RUNNING


async def test_refused(client: ExecutionClient) -> None:
    """A refusal is raised with its reason, its detail and the command's id."""
    run = await created(client)
    command_id = str(uuid4())

    with pytest.raises(CommandRefused) as raised:
        await client.update_graph_execution_stats(
            run.id, S.COMPLETED, user_id=OWNER, command_id=command_id
        )

    assert raised.value.reason == "illegal_transition"
    assert raised.value.detail["found"] == "INCOMPLETE"
    assert raised.value.command_id == command_id
    with pytest.raises(CommandRefused, match="wrong_owner"):
        await client.update_graph_execution_start_time(run.id, user_id="grace")
    with pytest.raises(CommandRefused, match="nothing_to_change"):
        await client.update_graph_execution_stats(run.id, user_id=OWNER)


async def test_numbers_that_cannot_be_stored_are_not_sent(client: ExecutionClient) -> None:
    """The client finds them as the worker does."""
    run = await created(client)
    with pytest.raises(ValueError, match="not_storable"):
        await client.call(output(run.id, data=Raw(b"1e200000"), node_exec_id=str(uuid4())))


@pytest.mark.usefixtures("unjudged")
async def test_dead(client: ExecutionClient) -> None:
    """A command that the worker cannot store is raised as dead."""
    run = await created(client)
    step = run.node_executions[0].node_exec_id

    with pytest.raises(CommandDead) as raised:
        await client.upsert_execution_output(
            step, "out", Raw(b"1e200000"), user_id=OWNER, graph_exec_id=run.id
        )

    assert raised.value.reason == "not_storable"


async def record_at(place: Installation, partition: int, offset: int) -> Any:
    records = {(one.partition, one.offset): one for one in await place.commands()}
    return records[partition, offset]
