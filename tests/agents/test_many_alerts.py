"""Alerts of very many blocks, whose ids producers choose, and of blocks with own thresholds."""

from execstream.agents.alerts.failing_blocks import MOST_UNNAMED, look_at_blocks
from execstream.config.settings import Settings
from execstream.devstack import Addresses
from execstream.storage.connections import WRITE, connection
from execstream.storage.schema.migrate import migrate
from execstream.streams.totals.alert_rules import Rules
from tests.names import Names

_FAILING = """
insert into block_minute
select date_trunc('minute', now()), 0, $1 || n, $3, 0, $3, $3, 0, 0, 0, 0, '{}', '{"other": 1}'
  from generate_series(1, $2::int) n
"""
_ENDED = """
insert into block_minute
select date_trunc('minute', now()), 0, $1 || 1, $2::int, 0, $2::int, $3::int, 0, 0, 0, 0, '{}',
       jsonb_build_object('other', $3::int)
"""


async def test_made_up_blocks_have_so_many_alerts(stack: Addresses, names: Names) -> None:
    """Of blocks that the catalogue lacks some have an alert, however many fail, and no more come
    with the next look; a block of the catalogue has its alert although it fails less often.
    """
    await migrate(stack.postgres_dsn, names.schema)
    async with connection(stack.postgres_dsn, names.schema, WRITE) as db:
        await db.execute("insert into block values ('known-1', 'Known', 'STANDARD')")
        await db.execute(_FAILING, "made-up-", MOST_UNNAMED + 30, 90)
        await db.execute(_FAILING, "known-", 1, 50)
        raised = [await look_at_blocks(db, Rules(), has_webhook=False) for _ in range(2)]
        blocks = await db.fetch("select block_id from alert where closed_at is null")

    assert [len(some) for some in raised] == [MOST_UNNAMED + 1, 0]
    assert len({row["block_id"] for row in blocks}) == MOST_UNNAMED + 1
    assert "known-1" in {row["block_id"] for row in blocks}


async def test_some_blocks_have_rates_of_their_own(stack: Addresses, names: Names) -> None:
    """A block that may fail often has no alert where others have one, and a strict one has it
    where others have none.
    """
    rates = Settings(alert_block_rates="tolerant-1=0.9,strict-1=0.02").block_rates
    await migrate(stack.postgres_dsn, names.schema)
    async with connection(stack.postgres_dsn, names.schema, WRITE) as db:
        for name, failed in (("tolerant-", 60), ("usual-", 60), ("strict-", 10), ("mild-", 10)):
            await db.execute(_ENDED, name, 100, failed)
        raised = await look_at_blocks(db, Rules(block_rates=rates), has_webhook=False)

    limits = {one.block_id: one.figures["threshold"] for one in raised if not one.error_class}
    assert limits == {"usual-1": 0.1, "strict-1": 0.02}
