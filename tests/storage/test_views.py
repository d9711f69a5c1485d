"""The views for readers by SQL: names joined, totals summed, and a comment on everything."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from docs.sql_comments import comments
from execstream.models import BlockType
from tests.storage.factories import DAWN, OWNER, Tables, at

_DESCRIBED = """
select c.relname || coalesce('.' || a.attname, '') as name,
       coalesce(col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')) as text
  from pg_class c
  left join lateral (
    select attname, attnum from pg_attribute
     where attrelid = c.oid and attnum > 0 and not attisdropped
    union all select null, null
  ) a on true
 where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'v')
   and not c.relispartition
"""


async def test_everything_public_has_a_comment(tables: Tables) -> None:
    """Each table, view and column has one, and docs/sql.md is made of these."""
    rows = await tables.db.fetch(_DESCRIBED)
    written = {comment.name: comment.text for comment in comments()}

    assert len(rows) > 300
    assert {row["name"]: row["text"] for row in rows} == written


async def _one(tables: Tables, statement: str, *args: object) -> dict[str, Any]:
    [row] = await tables.db.fetch(statement, *args)
    return dict(row)


async def test_runs_and_steps_have_names_and_figures(tables: Tables) -> None:
    """Those of the catalogue, seconds, cost and error; deleted runs are in neither view."""
    await tables.graph("graph", "Newsletter")
    await tables.block("block", BlockType.STANDARD)
    ended = {"started_at": DAWN, "ended_at": at(2.5)}
    run_id = await tables.run(stats={"cost": 12, "error": "no tide"}, **ended)
    hidden = await tables.run(is_deleted=True)
    odd = await tables.run(graph_id="unknown", stats={"cost": "1e400"})
    for one in (run_id, hidden):
        await tables.step(one, started_time=DAWN, ended_time=at(1.5), stats={"cost": 7})

    assert await tables.db.fetchval("select count(*) from runs") == 2
    run = await _one(tables, "select * from runs where graph_exec_id = $1", run_id)
    assert (run["graph_name"], run["seconds"], run["cost"]) == ("Newsletter", Decimal("2.5"), 12)
    assert (run["user_id"], run["error"]) == (OWNER, "no tide")
    other = await _one(tables, "select * from runs where graph_exec_id = $1", odd)
    assert (other["graph_name"], other["cost"], other["seconds"]) == (None, 0, None)
    step = await _one(tables, "select * from steps")
    assert str(step["graph_exec_id"]) == run_id
    assert (step["block_name"], step["block_type"]) == ("block", "STANDARD")
    assert (step["graph_name"], step["seconds"], step["cost"]) == ("Newsletter", Decimal("1.5"), 7)


async def test_rates_and_costs_are_sums_over_partitions(tables: Tables) -> None:
    """A row per minute or day, whatever the partitions; rates are null where nothing ended."""
    await tables.graph("graph", "Newsletter")
    await tables.block("block", BlockType.AI)
    for partition in (0, 1):
        await tables.db.execute(
            """insert into block_minute values
               ($1, $2, 'block', 5, 1, 4, 1, 0, 2000, 30, 9, '{}', '{}', 2, 1, 0),
               ($1, $2, 'idle', 5, 0, 0, 0, 0, 0, 0, 0, '{}', '{}', 0, 0, 0)""",
            DAWN,
            partition,
        )
        await tables.db.execute(
            "insert into graph_minute values ($1, $2, 'graph', 9, 8, 7, 3, 2, 1, 0)",
            DAWN,
            partition,
        )
        await tables.db.execute(
            "insert into user_day values ($1, $2, 'ada', 4, 1, 30, 9)", DAWN.date(), partition
        )
        await tables.db.execute(
            "insert into node_day values ($1, $2, 'graph', 'node', 5, 1, 4, 1, 0, 2000, 30, 9)",
            DAWN.date(),
            partition,
        )

    block = await _one(tables, "select * from block_rates where block_id = 'block'")
    assert (block["ended"], block["failed"], block["cascaded"], block["cost"]) == (8, 2, 4, 60)
    assert (block["error_rate"], block["mean_seconds"]) == (Decimal("0.25"), Decimal("0.5"))
    assert (block["block_name"], block["block_type"]) == ("block", "AI")
    idle = await _one(tables, "select * from block_rates where block_id = 'idle'")
    assert (idle["error_rate"], idle["mean_seconds"], idle["block_name"]) == (None, None, None)
    graph = await _one(tables, "select * from graph_rates")
    assert (graph["created"], graph["completed"], graph["failed"]) == (18, 6, 2)
    assert (graph["failure_rate"], graph["graph_name"]) == (Decimal("0.25"), "Newsletter")
    costs = await tables.db.fetch("select * from costs where id <> 'idle' order by subject")
    assert [(row["subject"], row["id"], row["name"]) for row in costs] == [
        ("block", "block", "block"),
        ("graph", "graph", "Newsletter"),
        ("user", "ada", None),
    ]
    assert {(row["day"], row["ended"], row["failed"], row["cost"]) for row in costs} == {
        (date(2026, 3, 1), 8, 2, 60)
    }


@pytest.mark.parametrize(
    "condition",
    [
        "runs where user_id = 'ada'",
        "runs where graph_id = 'g'",
        "runs where created_at > now()",
        "steps where graph_exec_id = '00000000-0000-4000-8000-000000000000'",
        "block_rates where minute > now()",
        "block_rates where block_id = 'b'",
        "graph_rates where graph_id = 'g'",
        "costs where subject = 'user' and id = 'ada'",
    ],
)
async def test_conditions_reach_the_indexes(tables: Tables, condition: str) -> None:
    """A view passes conditions on to its tables: of their rows none is read without an index."""
    for number in range(60):  # so that one index is better than another
        await tables.run(user_id=f"user-{number}", graph_id=f"graph-{number}")
    async with tables.db.acquire() as connection, connection.transaction():
        await connection.execute(
            "set local enable_seqscan = off; set local enable_bitmapscan = off"
        )
        await connection.execute("analyze")
        plan = await connection.fetch(f"explain select * from {condition}")
    lines = [row[0] for row in plan]
    assert any("Index Cond" in line for line in lines)
    assert not any("Seq Scan" in line and " on graph" not in line for line in lines), lines


async def test_days_of_costs_are_those_of_utc(tables: Tables) -> None:
    """Whatever the time zone of the session."""
    late = DAWN.replace(hour=23, minute=59)
    for number, minute in enumerate((late, late + timedelta(minutes=1))):
        await tables.db.execute(
            """insert into block_minute values
               ($1, 0, 'block', 1, 0, 1, 0, 0, 1, $2, 0, '{}', '{}', 0, 0, 0)""",
            minute,
            number + 1,
        )
    async with tables.db.acquire() as connection, connection.transaction():
        await connection.execute("set local timezone = 'Asia/Tokyo'")
        rows = await connection.fetch("select day, cost from costs order by day")
    assert [tuple(row) for row in rows] == [(date(2026, 3, 1), 1), (date(2026, 3, 2), 2)]
