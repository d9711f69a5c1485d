"""Errors of runs: bounded by run, the same however events are cut, and gone with the run."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import asyncpg
import msgspec
import pytest

from execstream.devstack import Addresses
from execstream.storage.commit.totals import commit_tally
from execstream.storage.connections import WRITE, connection
from execstream.storage.schema.migrate import migrate
from execstream.streams.totals.aggregation import Fact, Tally
from execstream.streams.totals.error_classes import BUILT_IN
from tests.names import Names

START = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
RUNS = [str(UUID(int=number + 1)) for number in range(3)]
MOST = 200  # rows of a run, beside that of all other failures
LETTERS = "abcdefghij"


def failed(number: int, run_id: str, block: int, hour: int, error: str) -> Fact:
    at = START + timedelta(hours=hour, microseconds=number)
    return Fact(
        type="node.updated",
        at=at,
        source=(0, number, 0),
        graph_exec_id=run_id,
        graph_id="graph",
        user_id="ada",
        node_exec_id=str(UUID(int=number)),
        node_id="node",
        block_id=f"block-{block}",
        status="FAILED",
        stats=msgspec.Raw(msgspec.json.encode({"error": error})),
    )


def many(seed: int) -> list[Fact]:
    """Failures of 400 kinds in each of two runs, one kind again and again, and of a run that is
    erased."""
    random = Random(seed)
    facts = []
    for number in range(2_000):
        error = f"odd {random.choice(LETTERS)}{random.choice(LETTERS)}"
        hour, block = random.randrange(2), random.randrange(2)
        facts.append(failed(number, random.choice(RUNS), block, hour, error))
    facts[1_500:] = [fact for fact in facts[1_500:] if fact.graph_exec_id != RUNS[2]]
    last = msgspec.structs.replace(facts[-1], status=msgspec.UNSET, stats=msgspec.UNSET)
    erased = {"type": "graph.deleted", "graph_exec_id": RUNS[2], "hard": True}
    facts.insert(1_500, msgspec.structs.replace(last, source=(0, 2_000, 0), **erased))
    return facts


async def stored(db: asyncpg.Connection, facts: list[Fact], size: int) -> list[tuple[object, ...]]:
    """The rows after `facts` were committed in batches of `size`."""
    await db.execute("truncate run_error")
    for first in range(0, len(facts), size):
        tally = Tally()
        for fact in facts[first : first + size]:
            tally.count(fact)
        await commit_tally(db, "tally", "events", [], tally)
    return [tuple(row) for row in await db.fetch("select * from run_error order by 1, 2, 3, 4, 5")]


@pytest.mark.parametrize("seed", range(3))
async def test_it_does_not_matter_how_events_are_cut(
    stack: Addresses, names: Names, seed: int
) -> None:
    """The first 200 rows of a run and one for all others, which add up to its failures."""
    facts = many(seed)
    expected: dict[str, set[tuple[object, ...]]] = {run_id: set() for run_id in RUNS[:2]}
    failures = Counter(fact.graph_exec_id for fact in facts if fact.graph_exec_id in expected)
    for fact in facts:
        kept = expected.get(fact.graph_exec_id, set())
        if len(kept) < MOST and isinstance(fact.stats, msgspec.Raw):
            error = msgspec.json.decode(fact.stats)["error"]
            kept.add((fact.at.hour, fact.block_id, BUILT_IN.judge(error).fingerprint))
    await migrate(stack.postgres_dsn, names.schema)
    async with connection(stack.postgres_dsn, names.schema, WRITE) as db:
        once, *others = [await stored(db, facts, size) for size in (3_000, 7, 37, 400)]
        rows = await db.fetch("select * from run_error")

    assert others == [once] * 3
    for run_id in RUNS:
        mine = [row for row in rows if str(row["graph_exec_id"]) == run_id]
        apart = [row for row in mine if row["fingerprint"] != "other"]
        found = {(row["hour"].hour, row["block_id"], row["fingerprint"]) for row in apart}
        assert found == expected.get(run_id, set())
        assert len(mine) - len(apart) == (run_id in expected)
        assert sum(row["failures"] for row in mine) == failures[run_id]
