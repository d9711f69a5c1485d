"""The totals of a snapshot as they will be when the tally has counted all that is committed in it.

The tally runs behind by less than a second, but always. What it has not counted is added to copies
of its tables that only this session sees.
"""

from collections.abc import Mapping

import asyncpg

from storage.leftovers import events_after
from storage.migrate import quoted
from storage.totals import commit_tally
from streams.tallying import Tally, decode_fact

TABLES = (
    "block_minute",
    "block_hour",
    "node_day",
    "graph_minute",
    "user_day",
    "block_error",
    "block_total",
    "node_total",
)
_COUNTED = """
select partition, published_offset, published_index from consumer_offset
 where consumer = 'tally' and topic = $1
"""


async def has_totals(connection: asyncpg.Connection, events: str) -> bool:
    """Whether a tally ever ran in the connection's schema, on the topic `events`."""
    return bool(await connection.fetch(_COUNTED, events))


async def complete_totals(
    connection: asyncpg.Connection, schema: str, events: str, ends: Mapping[int, int]
) -> None:
    """Stand temporary tables in for the totals of the connection's schema, `schema`, with all
    counted whose source is before `ends`, by partition.

    To be called in a transaction of isolation repeatable_read; its end drops the tables.
    """
    for table in TABLES:
        of_schema = f"{quoted(schema)}.{table}"
        await connection.execute(
            f"create temp table {table} (like {of_schema} including all) on commit drop"
        )
        await connection.execute(f"insert into pg_temp.{table} select * from {of_schema}")
    counted = {row[0]: (row[1], row[2]) for row in await connection.fetch(_COUNTED, events)}
    for partition, end in ends.items():
        after = counted.get(partition, (-1, -1))
        while page := await events_after(connection, partition, after, end):
            tally = Tally()
            for leftover in page:
                tally.count(decode_fact(leftover.value))
            await commit_tally(connection, "tally", events, [], tally)
            after = page[-1].place
