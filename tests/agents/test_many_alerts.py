"""Alerts of blocks without end: producers choose the ids."""

from execstream.agents.alerts.failing_blocks import MOST_UNNAMED, look_at_blocks
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
