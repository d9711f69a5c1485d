"""Error rates of blocks: from the totals of whole minutes, or from the steps; both agree."""

import random
from datetime import timedelta

import pytest

from execstream import reads
from execstream.models import BlockErrorStats
from tests.storage.factories import Tables, at

SPANS = [  # seconds after `at(0)`
    (0, 86_400),
    (0, 60),
    (1_800, 5_400),
    (600, 1_200),
    (3_540, 3_660),
    (5_400, 90_000),
    (0, 0),
    (7_200, 3_600),
]

_FILL = """
insert into consumer_offset (consumer, topic, partition, next_offset, epoch, published_offset)
values ('tally', 'events', 0, 1, 1, 0), ('apply', 'commands', 0, 1, 1, 0);
"""
_MINUTE = """
insert into block_minute values ($1, $2, $3, $4, $5, 0, 0, 0, 0, 0, 0, '{}', '{}')
"""
_HOURS = """
insert into block_hour
select date_trunc('hour', minute, 'UTC'), source_partition, block_id,
       sum(added), sum(added_failed)
  from block_minute group by 1, 2, 3
"""


@pytest.mark.parametrize(("start", "end"), SPANS)
async def test_hours_and_minutes_make_any_span(tables: Tables, start: int, end: int) -> None:
    """A span of whole minutes is the sum of its minutes, however many hours lie in it."""
    chance = random.Random(1)
    minutes = [
        (at(60 * minute), partition, f"block{block}", added, chance.randint(0, added))
        for minute in chance.sample(range(1_600), 300)
        for partition in range(2)
        for block in range(3)
        for added in (chance.randint(0, 9),)
    ]
    await tables.db.execute(_FILL)
    await tables.db.executemany(_MINUTE, minutes)
    await tables.db.execute(_HOURS)

    found = await reads.get_block_error_stats(tables.db, at(start), at(end), 1)

    expected: dict[str, BlockErrorStats] = {}
    for minute, _, block, added, failed in minutes:
        if at(start) <= minute < at(end):
            sofar = expected.setdefault(
                block, BlockErrorStats(block_id=block, total_executions=0, failed_executions=0)
            )
            sofar.total_executions += added
            sofar.failed_executions += failed
    assert {one.block_id: one for one in found} == {
        block: one for block, one in expected.items() if one.total_executions
    }
    assert [one.error_rate for one in found] == sorted(
        (one.error_rate for one in found), reverse=True
    )


async def test_parts_of_minutes_are_counted_from_the_steps(tables: Tables) -> None:
    """The totals know nothing smaller than a minute."""
    await tables.db.execute(_FILL)
    await tables.db.execute(_MINUTE, at(0), 0, "block", 50, 0)

    assert await reads.get_block_error_stats(tables.db, at(0), at(60), 1) != []
    assert await reads.get_block_error_stats(tables.db, at(0), at(60) + timedelta(1e-6), 1) == []
