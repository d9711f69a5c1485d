"""Blocks and graphs without end: producers choose the ids, and answers about all are bounded."""

import asyncpg
import pytest

from execstream.dashboard.reads.graph_figures import MOST_VERSIONS, GraphReads
from execstream.dashboard.reads.live_blocks import MOST_BLOCKS, LiveBlocks
from tests.worker import Installation

TOO_MANY = 10

_BLOCKS = """
insert into block_minute
select date_trunc('minute', now()), 0, 'block-' || n, 1, 0, case when n < 5 then 2 else 1 end,
       0, 0, 5, 0, 0, '{"7": 1}', '{}'
  from generate_series(1, $1) n
"""
_GRAPHS = """
insert into graph_execution (
    id, user_id, graph_id, graph_version, status, dry_run, is_deleted, is_shared, created_at,
    started_at, ended_at, updated_at, last_seq, source_partition)
select gen_random_uuid(), 'ada', 'graph-' || n % 2, n / 2 + 1, 'COMPLETED', false, false, false,
       now(), now(), now(), now(), 1, 0
  from generate_series(1, $1) n, generate_series(1, case when n < 5 then 2 else 1 end)
"""


@pytest.fixture
async def db(place: Installation) -> asyncpg.Pool:
    await place.db.execute(_BLOCKS, MOST_BLOCKS + TOO_MANY)
    await place.db.execute(_GRAPHS, MOST_VERSIONS + TOO_MANY)
    return place.db


async def test_the_busiest_are_told_of(db: asyncpg.Pool) -> None:
    """Of more blocks or versions than an answer has, those with the most ends are there."""
    blocks = {one.block_id: one for one in await LiveBlocks(db).all()}
    graphs = await GraphReads(db).all()

    assert len(blocks) == MOST_BLOCKS
    busiest = {f"block-{number}" for number in range(1, 5)}
    assert all(blocks[name].windows["24h"].ended == 2 for name in busiest)
    assert blocks["block-1"].duration_ms is not None
    versions = [version for graph in graphs for version in graph.versions]
    assert len(versions) == MOST_VERSIONS
    assert sum(version.ended == 2 for version in versions) == len(busiest)
    for graph in graphs:
        numbers = [version.graph_version for version in graph.versions]
        assert numbers == sorted(numbers, reverse=True)
