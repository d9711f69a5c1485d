"""More blocks than a worker of role tally holds: producers choose their ids."""

from datetime import timedelta
from typing import Any

from faust.types import TP

from execstream.agents.budgets.judge import BudgetJudge
from execstream.agents.runtime.partition_buffer import PartitionBuffer
from execstream.agents.runtime.phase_timer import Phases
from execstream.agents.tally.aggregator import Tallier
from execstream.agents.tally.live_view import LiveView
from execstream.agents.tally.tally_stats import TallyPositions
from execstream.agents.worker import build_app
from execstream.devstack import Addresses
from execstream.storage.commit.totals import MOST_BLOCKS
from execstream.storage.connections import Session
from execstream.storage.schema.migrate import migrate
from execstream.streams.totals.definitions import Definitions, definition
from tests.agents.applying import Still
from tests.agents.test_tally import Unheard, batch, moved, told
from tests.names import Names
from tests.orders import DAWN
from tests.worker import settings_at

_MANY = """
insert into block_total
select 0, 'block' || n, n, 0, $1, n, 0, n, 0, 0, n, n, n from generate_series(0, $2) as n
"""
_MINUTES = """
insert into block_minute
select $1::timestamptz - ago * interval '1 minute', 0, 'block' || n, 1, 0, 1, 0, 0, 1, 1, 1,
       '{}', '{}'
  from generate_series(0, 1) as n, generate_series(0, 70) as ago
"""
_BLOCK = """
select t.position_offset, t.added, t.added_failed, t.ended, t.failed, t.terminated,
       t.duration_ms, t.cost, t.tokens, t.cascaded, t.caller_failed, t.skewed,
       (select array_agg(array[extract(epoch from m.minute) / 60, m.ended, m.failed]
                         order by m.minute)
          from block_minute m where m.block_id = t.block_id and m.minute > $2 and m.ended > 0)
  from block_total t where t.block_id = $1
"""


async def test_blocks_that_come_back_are_exact(stack: Addresses, names: Names) -> None:
    """Those that were silent for longest are not loaded, and dropped when others come; later events
    of one are added to its full totals and its last hour.
    """
    await migrate(stack.postgres_dsn, names.schema)
    session = Session(stack.postgres_dsn, names.schema)
    db = await session.get()
    minute = DAWN.replace(second=0, microsecond=0)
    await db.execute(_MANY, minute, MOST_BLOCKS)
    await db.execute(_MINUTES, minute)
    app: Any = build_app("tally", settings_at(stack, names))
    view = LiveView(app, Unheard())
    store = TallyPositions(session, definition())
    buffer = PartitionBuffer("events", store, lambda parts: view.begin(parts, store.live))
    settings = settings_at(stack, names)
    tallier = Tallier(settings, buffer, view, Phases(), Definitions(), BudgetJudge(settings))
    [owned] = await buffer.claim({TP("events", 0): (0, 0)})
    await buffer.take_over([owned], Still())
    held = view.block_stats.data.data

    async def fail(*blocks: str) -> None:
        """A step of each of them, in one batch."""
        place = MOST_BLOCKS + owned.next
        values = [moved(place + i, block_id=block) for i, block in enumerate(blocks, 1)]
        await tallier.tally(batch(values, owned))
        await tallier.close()

    async def assert_exact(*blocks: str) -> None:
        await view.tick()
        for block in blocks:
            row = await db.fetchrow(_BLOCK, block, minute - timedelta(hours=1))
            assert told(held[f"0|{block}"]) == tuple(row), block

    assert len(held) == MOST_BLOCKS
    assert "0|block0" not in held
    await fail("block0", "block0", "fresh", "block5")
    await assert_exact("block0", "fresh", "block5", f"block{MOST_BLOCKS}")
    await fail("block0", "fresh")  # evicts the first one, block1
    assert "0|block1" not in held
    await fail("block1", "block0")
    await assert_exact("block0", "fresh", "block1")
    assert len(held) <= MOST_BLOCKS + 4
    app.consumer._thread.thread_loop.close()
    await session.close()
