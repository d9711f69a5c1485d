"""Reads of runs: one, many, pages, children and shared ones."""

import hashlib
import itertools
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from execstream import reads
from execstream.models import BlockType, ExecutionStatus, GraphExecutionMeta
from tests.storage.factories import OWNER, Tables, at

NOT_AN_ID = "not-a-uuid"


async def test_a_run_comes_back_as_it_was_stored(tables: Tables) -> None:
    """Every column a reader knows comes back, stats under the reader's names."""
    run_id = await tables.run(
        graph_version=3,
        inputs={"text": "hi"},
        credential_inputs={"mail": {"id": "c1", "provider": "smtp", "type": "api_key"}, "odd": 1},
        nodes_input_masks={"node": {"pin": 1}},
        preset_id="preset",
        attributes={"env": "prod"},
        dry_run=True,
        started_at=at(1),
        ended_at=at(2),
        stats={"walltime": 1.5, "node_count": 2, "cost": 7, "error": "oh", "own": True},
    )

    meta = await reads.get_graph_execution_meta(tables.db, OWNER, run_id)

    assert meta is not None
    assert meta.model_dump(mode="json", exclude={"stats", "credential_inputs"}) == {
        "id": run_id,
        "user_id": OWNER,
        "graph_id": "graph",
        "graph_version": 3,
        "inputs": {"text": "hi"},
        "nodes_input_masks": {"node": {"pin": 1}},
        "preset_id": "preset",
        "status": "COMPLETED",
        "created_at": "2026-03-01T06:30:00Z",
        "started_at": "2026-03-01T06:30:01Z",
        "ended_at": "2026-03-01T06:30:02Z",
        "is_shared": False,
        "share_token": None,
        "is_dry_run": True,
        "trimmed_at": None,
        "attributes": {"env": "prod"},
    }
    assert meta.credential_inputs is not None
    assert meta.credential_inputs["mail"].provider == "smtp"
    assert meta.credential_inputs["odd"] == 1
    assert meta.stats == GraphExecutionMeta.Stats(
        duration=1.5, node_exec_count=2, cost=7, error="oh"
    )


async def test_runs_by_their_attributes(tables: Tables) -> None:
    """A run has all that are asked for, as the text they are; pages and the past agree."""
    both = await tables.run(attributes={"env": "prod", "team": '"a"'})
    env = await tables.run(attributes={"env": "prod"})
    await tables.run(attributes={"env": "production"})
    await tables.run()
    for asked, expected in (
        ({"env": "prod"}, {both, env}),
        ({"env": "prod", "team": '"a"'}, {both}),
        ({"env": "pr\x00od"}, {both, env}),
        ({"team": "a"}, set()),
        ({"prod": "env"}, set()),
    ):
        page = await reads.list_graph_executions(tables.db, attributes=asked)
        past = await reads.list_graph_executions_as_of(tables.db, at(9), attributes=asked)
        assert [{run.id for run in one.data} for one in (page, past)] == [expected] * 2
    assert len((await reads.list_graph_executions(tables.db, attributes={})).data) == 4


async def test_a_foreign_a_deleted_and_an_unknown_run_are_none(tables: Tables) -> None:
    """Only its owner reads a run, and no caller does once it is deleted."""
    run_id = await tables.run()
    deleted = await tables.run(is_deleted=True)

    for user_id, execution_id in [
        ("eve", run_id),
        (OWNER, deleted),
        (OWNER, str(uuid4())),
        (OWNER, NOT_AN_ID),
    ]:
        assert await reads.get_graph_execution_meta(tables.db, user_id, execution_id) is None
        assert await reads.get_graph_execution(tables.db, user_id, execution_id) is None
    assert await reads.get_graph_executions(tables.db, graph_exec_id=deleted) == []
    assert await reads.get_graph_executions(tables.db, graph_exec_id=NOT_AN_ID) == []
    assert await reads.get_node_executions(tables.db, graph_exec_id=NOT_AN_ID) == []


async def test_odd_stats_hide_nothing_but_themselves(tables: Tables) -> None:
    """Stats without the form of the model read as None."""
    run_id = await tables.run(stats={"node_count": "many"})

    meta = await reads.get_graph_execution_meta(tables.db, OWNER, run_id)

    assert meta is not None
    assert meta.stats is None


async def test_outputs_are_what_output_blocks_were_given(tables: Tables) -> None:
    """In the order of queueing, all values of a name; from execution data where there is some."""
    await tables.block("out", BlockType.OUTPUT)
    run_id = await tables.run(inputs={"stored": 1})
    late = await tables.step(run_id, block_id="out", added_time=at(1), queued_time=at(9))
    await tables.given(run_id, late, name="answer", value="late")
    await tables.step(
        run_id, block_id="out", added_time=at(2), execution_data={"name": "answer", "value": None}
    )
    waiting = await tables.step(run_id, block_id="out", status="INCOMPLETE", queued_time=None)
    await tables.given(run_id, waiting, name="answer", value="not begun")
    await tables.step(run_id, block_id="out", execution_data={"value": "nameless"})
    await tables.step(run_id, block_id="unknown", execution_data={"name": "answer", "value": 1})

    run = await reads.get_graph_execution(tables.db, OWNER, run_id)
    with_nodes = await reads.get_graph_execution(
        tables.db, OWNER, run_id, include_node_executions=True
    )

    assert run is not None
    assert with_nodes is not None
    assert run.inputs == with_nodes.inputs == {"stored": 1}
    assert run.outputs == with_nodes.outputs == {"answer": [None, "late"]}
    assert len(with_nodes.node_executions) == 5


async def test_inputs_are_told_by_input_blocks_when_none_are_stored(tables: Tables) -> None:
    """A webhook's payload is among the inputs either way."""
    await tables.block("in", BlockType.INPUT)
    await tables.block("hook", BlockType.WEBHOOK_MANUAL)
    bare = await tables.run()
    stored = await tables.run(inputs={"a": 1})
    for run_id in (bare, stored):
        await tables.step(run_id, block_id="in", execution_data={"name": "b", "value": 2})
        await tables.step(run_id, block_id="hook", execution_data={"payload": {"c": 3}})

    of_bare = await reads.get_graph_execution(tables.db, OWNER, bare)
    of_stored = await reads.get_graph_execution(tables.db, OWNER, stored)

    assert of_bare is not None
    assert of_bare.inputs == {"b": 2, "payload": {"c": 3}}
    assert of_stored is not None
    assert of_stored.inputs == {"a": 1, "payload": {"c": 3}}


async def test_children_are_those_of_the_same_owner(tables: Tables) -> None:
    """Naming a foreign run as parent shows a run to no other user; deleted children are hidden."""
    parent = await tables.run()
    older = await tables.run(parent_graph_exec_id=parent, created_at=at(1))
    newer = await tables.run(parent_graph_exec_id=parent, created_at=at(2))
    await tables.run(parent_graph_exec_id=parent, user_id="eve")
    await tables.run(parent_graph_exec_id=parent, is_deleted=True)

    children = await reads.get_child_graph_executions(tables.db, parent)

    assert [child.id for child in children] == [newer, older]
    assert await reads.get_child_graph_executions(tables.db, parent, user_id="eve") == []


async def test_a_share_token_shows_outputs_only(tables: Tables) -> None:
    """Known by its hash; unknown, revoked and deleted are the same None."""
    await tables.block("out", BlockType.OUTPUT)
    run_id = await tables.run(is_shared=True, share_token_hash=_hash("secret"))
    await tables.run(
        is_shared=True, share_token_hash=_hash("deleted"), graph_id="g2", is_deleted=True
    )
    await tables.step(run_id, block_id="out", execution_data={"name": "answer", "value": 42})

    shared = await reads.get_graph_execution_by_share_token(tables.db, "secret")

    assert shared is not None
    assert shared.graph_name == "Untitled Agent"
    assert shared.outputs == {"answer": [42]}
    assert "inputs" not in type(shared).model_fields
    for token in ("deleted", "revoked", _hash("secret")):
        assert await reads.get_graph_execution_by_share_token(tables.db, token) is None

    await tables.graph("graph", "Writer", "Writes.")
    named = await reads.get_graph_execution_by_share_token(tables.db, "secret")
    assert named is not None
    assert (named.graph_name, named.graph_description) == ("Writer", "Writes.")


@pytest.fixture
async def many(tables: Tables) -> list[dict[str, Any]]:
    """Runs of all kinds, several created at the same moment, newest first."""
    chance = random.Random(4)
    rows = [
        {
            "id": str(uuid4()),
            "user_id": chance.choice([OWNER, "bob"]),
            "graph_id": chance.choice(["g1", "g2"]),
            "graph_version": chance.choice([1, 2]),
            "status": chance.choice(["RUNNING", "FAILED", "COMPLETED"]),
            "is_deleted": chance.random() < 0.2,
            "created_at": at(chance.randrange(8)),
        }
        for _ in range(80)
    ]
    for row in rows:
        await tables.run(**row)
    newest_first = sorted(rows, key=lambda row: (row["created_at"], row["id"]), reverse=True)
    return [row for row in newest_first if not row["is_deleted"]]


FILTERS: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "user_id": (OWNER, lambda row: row["user_id"] == OWNER),
    "graph_id": ("g1", lambda row: row["graph_id"] == "g1"),
    "graph_version": (2, lambda row: row["graph_version"] == 2),
    "statuses": (
        [ExecutionStatus.FAILED, ExecutionStatus.RUNNING],
        lambda row: row["status"] != "COMPLETED",
    ),
    "created_time_gte": (at(2), lambda row: row["created_at"] >= at(2)),
    "created_time_lte": (at(5), lambda row: row["created_at"] <= at(5)),
}


async def test_every_pair_of_filters_keeps_what_it_says(
    tables: Tables, many: list[dict[str, Any]]
) -> None:
    """Lists, counts and pages agree with the filters spelled in Python, newest first."""
    for chosen in [(), *itertools.combinations(FILTERS, 1), *itertools.combinations(FILTERS, 2)]:
        filters = {name: FILTERS[name][0] for name in chosen}
        expected = [row["id"] for row in many if all(FILTERS[name][1](row) for name in chosen)]

        found = await reads.get_graph_executions(tables.db, **filters)
        limited = await reads.get_graph_executions(tables.db, **filters, limit=3)

        assert [run.id for run in found] == expected, filters
        assert [run.id for run in limited] == expected[:3]
        assert await _by_cursor(tables, filters) == expected
        if "graph_version" not in filters:
            assert await reads.get_graph_executions_count(tables.db, **filters) == len(expected)


async def test_an_empty_list_of_statuses_asks_for_nothing(
    tables: Tables, many: list[dict[str, Any]]
) -> None:
    """It equals the original."""
    assert len(await reads.get_graph_executions(tables.db, statuses=[])) == len(many)


async def test_numbered_pages_cover_all_runs_once(
    tables: Tables, many: list[dict[str, Any]]
) -> None:
    """Pages of an owner's runs, with the totals on each."""
    mine = [row["id"] for row in many if row["user_id"] == OWNER]
    pages = -(-len(mine) // 7)

    found = []
    for page in range(1, pages + 2):
        answer = await reads.get_graph_executions_paginated(
            tables.db, OWNER, page=page, page_size=7
        )
        found += [run.id for run in answer.executions]
        assert answer.pagination.model_dump() == {
            "total_items": len(mine),
            "total_pages": pages,
            "current_page": page,
            "page_size": 7,
        }

    assert found == mine


async def test_pages_and_cursors_that_cannot_be(tables: Tables) -> None:
    """A page below 1 and a made-up cursor are refused as such, with their value."""
    with pytest.raises(ValueError, match="page is 0"):
        await reads.get_graph_executions_paginated(tables.db, OWNER, page=0)
    with pytest.raises(ValueError, match="limit is 0"):
        await reads.list_graph_executions(tables.db, limit=0)
    for cursor in ("made up", "", "bm93L2hlcmU=", "é"):
        with pytest.raises(reads.InvalidCursor, match="is not a cursor"):
            await reads.list_graph_executions(tables.db, cursor=cursor)


async def test_graphs_are_frequent_by_their_ended_runs(tables: Tables) -> None:
    """Counted per user within the days asked for; live, old and deleted runs do not count."""
    now = await tables.db.fetchval("select now()")
    for graph_id, times in {"often": 3, "rarely": 1}.items():
        for _ in range(times):
            await tables.run(graph_id=graph_id, created_at=now - timedelta(days=1))
    odd_ones: list[dict[str, Any]] = [
        {"status": "RUNNING"},
        {"is_deleted": True},
        {"created_at": now - timedelta(days=40)},
    ]
    for odd in odd_ones:
        await tables.run(graph_id="rarely", **{"created_at": now} | odd)

    found = await reads.get_frequently_executed_graphs(tables.db, min_executions=2)

    assert [graph.model_dump() for graph in found] == [
        {"graph_id": "often", "user_id": OWNER, "execution_count": 3}
    ]


async def _by_cursor(tables: Tables, filters: dict[str, Any]) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await reads.list_graph_executions(tables.db, **filters, cursor=cursor, limit=7)
        found += [run.id for run in page.data]
        cursor = page.next_cursor
        if cursor is None:
            return found


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
