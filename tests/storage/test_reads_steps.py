"""Reads of steps, their values, and key-values."""

import itertools
import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from execstream import reads
from execstream.models import ExecutionStatus
from execstream.streams import exact_json
from execstream.workload.reference import read_json
from tests.storage.factories import OWNER, Tables, at

NOT_AN_ID = "not-a-uuid"


async def test_a_step_comes_back_with_all_its_values(tables: Tables) -> None:
    """All values of an output pin, in order; inputs as stored while there is no execution data."""
    run_id = await tables.run(graph_version=2)
    step_id = await tables.step(run_id, status="RUNNING", started_time=at(1))
    await tables.given(run_id, step_id, text="hi", nothing=None)
    await tables.emitted(run_id, step_id, "out", 1, None, {"a": []})
    await tables.emitted(run_id, step_id, "error", "oh")

    step = await reads.get_node_execution(tables.db, step_id)

    assert step is not None
    assert step.model_dump(mode="json") == {
        "user_id": OWNER,
        "graph_id": "graph",
        "graph_version": 2,
        "graph_exec_id": run_id,
        "node_exec_id": step_id,
        "node_id": "node",
        "block_id": "block",
        "status": "RUNNING",
        "input_data": {"text": "hi", "nothing": None},
        "output_data": {"out": [1, None, {"a": []}], "error": ["oh"]},
        "add_time": "2026-03-01T06:30:00Z",
        "queue_time": "2026-03-01T06:30:00Z",
        "start_time": "2026-03-01T06:30:01Z",
        "end_time": None,
        "stats": None,
    }


async def test_execution_data_wins_over_inputs(tables: Tables) -> None:
    """Even when it is empty."""
    run_id = await tables.run()
    empty = await tables.step(run_id, execution_data={})
    full = await tables.step(run_id, execution_data={"a": 2})
    for step_id in (empty, full):
        await tables.given(run_id, step_id, a=1)

    steps = await reads.get_node_executions(tables.db, graph_exec_id=run_id)

    assert [step.input_data for step in steps] == [{}, {"a": 2}]


async def test_cleared_values_are_told_by_their_messages(tables: Tables) -> None:
    """Values removed by moderation stay removed."""
    run_id = await tables.run()
    step_id = await tables.step(
        run_id,
        execution_data={"a": "bad"},
        stats={"cleared_inputs": {"a": ["first", "last"]}, "cleared_outputs": {"o": ["gone"]}},
    )
    await tables.emitted(run_id, step_id, "o", "bad")

    step = await reads.get_node_execution(tables.db, step_id)

    assert step is not None
    assert step.input_data == {"a": "last"}
    assert step.output_data == {"o": ["gone"]}


async def test_an_id_in_several_runs_is_ambiguous(tables: Tables) -> None:
    """Naming the run, or the owner when that is enough, makes it unambiguous."""
    mine, foreign = await tables.run(), await tables.run(user_id="eve")
    step_id = str(uuid4())
    for run_id in (mine, foreign):
        await tables.step(run_id, id=step_id)
        await tables.emitted(run_id, step_id, "out", run_id)

    with pytest.raises(reads.AmbiguousStep, match=step_id) as told:
        await reads.get_node_execution(tables.db, step_id)
    with pytest.raises(reads.AmbiguousStep):
        await reads.get_execution_outputs_by_node_exec_id(tables.db, step_id)
    by_owner = await reads.get_node_execution(tables.db, step_id, user_id="eve")
    by_run = await reads.get_execution_outputs_by_node_exec_id(
        tables.db, step_id, graph_exec_id=mine
    )

    assert told.value.graph_exec_ids == sorted([mine, foreign])
    assert by_owner is not None
    assert by_owner.output_data == {"out": [foreign]}
    assert by_run == {"out": [mine]}


async def test_steps_nobody_may_see_are_not_there(tables: Tables) -> None:
    """Unknown ids, foreign owners and deleted runs read alike."""
    deleted = await tables.run(is_deleted=True)
    hidden = await tables.step(deleted)
    foreign = await tables.step(await tables.run(user_id="eve"))

    for step_id in (hidden, foreign, str(uuid4()), NOT_AN_ID):
        assert await reads.get_node_execution(tables.db, step_id, user_id=OWNER) is None
        assert (
            await reads.get_execution_outputs_by_node_exec_id(tables.db, step_id, user_id=OWNER)
            == {}
        )
    assert await reads.get_node_executions(tables.db, graph_exec_id=deleted) == []
    assert await reads.get_latest_node_execution(tables.db, "node", deleted) is None
    assert await reads.get_latest_node_execution(tables.db, "node", NOT_AN_ID) is None


async def test_the_latest_step_is_the_one_queued_last(tables: Tables) -> None:
    """Then the one added last; steps that wait for input or review do not count."""
    run_id = await tables.run()
    await tables.step(run_id, added_time=at(9), queued_time=None)
    await tables.step(run_id, added_time=at(3), queued_time=at(5))
    latest = await tables.step(run_id, added_time=at(4), queued_time=at(5))
    await tables.step(run_id, queued_time=at(8), status="REVIEW")
    await tables.step(run_id, queued_time=at(8), status="INCOMPLETE")
    await tables.step(run_id, queued_time=at(8), node_id="other")

    step = await reads.get_latest_node_execution(tables.db, "node", run_id, user_id=OWNER)

    assert step is not None
    assert step.node_exec_id == latest


@pytest.fixture
async def many(tables: Tables) -> list[dict[str, Any]]:
    """Steps of two owners' runs, created days apart, in the order of reads."""
    chance = random.Random(4)
    runs = [
        await tables.run(id=run_id, user_id=user_id, created_at=at(86_400 * day))
        for run_id, user_id, day in [(RUN, OWNER, 0), (str(uuid4()), "bob", 1)]
    ]
    rows: list[dict[str, Any]] = [
        {
            "id": str(uuid4()),
            "run": chance.choice(runs),
            "node_id": chance.choice(["n1", "n2"]),
            "block_id": chance.choice(["b1", "b2", "b3"]),
            "status": chance.choice(["RUNNING", "FAILED", "COMPLETED"]),
            "added_time": at(chance.randrange(8)),
            "queued_time": chance.choice([None, at(chance.randrange(8, 16))]),
        }
        for _ in range(60)
    ]
    for row in rows:
        run_id = row["run"]
        await tables.step(run_id, **{name: row[name] for name in row if name != "run"})
        await tables.given(run_id, row["id"], own_id=row["id"])

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["queued_time"] is None, row["queued_time"] or row["added_time"], row["run"]

    return sorted(rows, key=place)  # stable: ties stay in the order of their creation


RUN = str(uuid4())
FILTERS: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "graph_exec_id": (RUN, lambda row: row["run"] == RUN),
    "user_id": (OWNER, lambda row: row["run"] == RUN),
    "node_id": ("n1", lambda row: row["node_id"] == "n1"),
    "block_ids": (["b1", "b2"], lambda row: row["block_id"] != "b3"),
    "statuses": ([ExecutionStatus.FAILED], lambda row: row["status"] == "FAILED"),
    "created_time_gte": (at(2), lambda row: row["added_time"] >= at(2)),
    "created_time_lte": (at(5), lambda row: row["added_time"] <= at(5)),
}


async def test_every_pair_of_filters_keeps_what_it_says(
    tables: Tables, many: list[dict[str, Any]]
) -> None:
    """Steps agree with the filters spelled in Python, each with its own values, in order."""
    for chosen in [(), *itertools.combinations(FILTERS, 1), *itertools.combinations(FILTERS, 2)]:
        filters = {name: FILTERS[name][0] for name in chosen}
        expected = [row["id"] for row in many if all(FILTERS[name][1](row) for name in chosen)]

        found = await reads.get_node_executions(tables.db, **filters)
        bare = await reads.get_node_executions(
            tables.db, **filters, limit=3, include_exec_data=False
        )

        assert [step.node_exec_id for step in found] == expected, filters
        assert [step.input_data["own_id"] for step in found] == expected
        assert [step.node_exec_id for step in bare] == expected[:3]
        assert all(step.input_data == step.output_data == {} for step in bare)


BULK_STEPS = """
insert into node_execution (id, graph_exec_id, run_day, node_id, block_id, status, added_seq,
    added_time, queued_time)
select gen_random_uuid(), run.id, created_at::date, 'node', 'block', 'COMPLETED', 10 + n,
    created_at, created_at + make_interval(secs => n)
from graph_execution run, generate_series(0, $2::integer - 1) n where run.id = $1
"""
BULK_INPUTS = """
insert into journal (graph_exec_id, seq, run_day, at, command_id, type, node_exec_id, name, data,
    source_partition, source_offset, source_index)
select graph_exec_id, 100000 + added_seq, run_day, added_time, gen_random_uuid(),
    'node.input_added', id, 'number', to_jsonb(added_seq - 10), 0, 0, 0
from node_execution where graph_exec_id = $1 and added_seq >= 10
"""
BULK_OUTPUTS = """
insert into journal (graph_exec_id, seq, run_day, at, command_id, type, node_exec_id, name, data,
    source_partition, source_offset, source_index)
select graph_exec_id, 200000 + n, run_day, added_time, gen_random_uuid(),
    'node.output_added', id, 'out', to_jsonb(n), 0, 0, 0
from node_execution, generate_series(0, $2::integer - 1) n where id = $1
"""


async def test_a_long_run_is_read_to_its_end(tables: Tables) -> None:
    """10,000 steps with their values, one of them with 100,000, and nothing left out."""
    run_id = await tables.run()
    talker = await tables.step(run_id, queued_time=None)
    await tables.db.execute(BULK_STEPS, run_id, 10_000)
    await tables.db.execute(BULK_INPUTS, run_id)
    await tables.db.execute(BULK_OUTPUTS, talker, 100_000)

    run = await reads.get_graph_execution(tables.db, OWNER, run_id, include_node_executions=True)
    outputs = await reads.get_execution_outputs_by_node_exec_id(tables.db, talker)

    assert run is not None
    assert len(run.node_executions) == 10_001
    assert [step.input_data["number"] for step in run.node_executions[:-1]] == list(range(10_000))
    assert outputs == run.node_executions[-1].output_data == {"out": list(range(100_000))}


async def test_a_key_value_comes_back_as_it_is(tables: Tables) -> None:
    """Falsy values are values; only null and a missing key are None."""
    values = {"0": 0, "false": False, '""': "", "[]": [], "{}": {}, "null": None}
    for text in values:
        await tables.key_value(OWNER, text, text)

    for key, value in values.items():
        found = await reads.get_execution_kv_data(tables.db, OWNER, key)
        assert found == value
        assert type(found) is type(value)
    assert await reads.get_execution_kv_data(tables.db, "eve", "0") is None
    assert await reads.get_execution_kv_data(tables.db, OWNER, "missing") is None


NUMBERS = [
    "0.5",
    "1.10",
    "-0.1",
    "1e400",
    "0.12345678901234567890",
    "-1e-400",
    f"1{'0' * 400}.5",
    f"1{'0' * 20}",
    f"1{'0' * 5_000}",
]


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:24])
async def test_numbers_keep_their_value(tables: Tables, text: str) -> None:
    """They are int, float or Decimal, whichever holds it; none becomes infinite or zero. JSON by
    our encoder has the number again, by pydantic at least valid JSON.
    """
    run_id = await tables.run()
    step_id = await tables.step(run_id)
    await tables.db.execute(
        "update node_execution set execution_data = $2::text::jsonb where id = $1",
        step_id,
        f'{{"number": [{text}]}}',
    )

    step = await reads.get_node_execution(tables.db, step_id)

    assert step is not None
    [number] = step.input_data["number"]
    assert number == read_json(text) or Decimal(repr(number)) == read_json(text)
    again = read_json(exact_json.encode(step))["input_data"]["number"]
    assert again == [read_json(text)]
    assert json.loads(step.model_dump_json(), parse_int=Decimal)["input_data"]["number"] != [None]


async def test_stats_beyond_a_float_hide_nothing_else(tables: Tables) -> None:
    """A time that no float holds makes the stats unreadable, and adds nothing to a summary."""
    for walltime in (10**400, -(10**400), Decimal("1e-400")):
        run_id = await tables.run(stats={"walltime": walltime, "cost": 1})
        meta = await reads.get_graph_execution_meta(tables.db, OWNER, run_id)
        assert meta is not None
        assert meta.stats is None or meta.stats.duration == 0

    summary = await reads.get_user_cost_summary(tables.db, OWNER, at(-1), at(1))

    assert summary.cost == 3
    assert [run.duration for run in summary.top_runs] == [0, 0, 0]
