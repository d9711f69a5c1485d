"""Bring totals up to date with every event committed in the snapshot.

The tally runs behind by less than a second, but always. Events that it has not counted are added to
copies of its tables that only this session sees.
"""

from collections.abc import Callable, Mapping

import asyncpg

from execstream.recovery.verify.recomputed_totals import counted
from execstream.storage.commit.definitions import load_definitions
from execstream.storage.commit.totals import commit_tally
from execstream.storage.connections import NO_TIMEOUT, quoted
from execstream.storage.log.events import events_after
from execstream.storage.schema.tables import TOTALS, Table
from execstream.streams.totals.aggregation import Tally, decode_fact


async def has_totals(connection: asyncpg.Connection, events: str) -> bool:
    """Return whether a tally ever ran in the connection's schema, on the topic `events`."""
    return bool(await counted(connection, events))


async def complete_totals(
    connection: asyncpg.Connection,
    schema: str,
    events: str,
    ends: Mapping[int, int],
    chosen: Callable[[Table], str] = lambda _: "true",
) -> None:
    """Replace the totals of the connection's schema, `schema`, by temporary tables that count all
    events with a source before `ends`, by partition.

    To be called in a transaction of isolation repeatable_read; its end drops the tables. `chosen`
    makes a condition on the rows (alias `t`) of a table: others may be left out.
    """
    for table in TOTALS:
        name, of_schema = table.name, f"{quoted(schema)}.{table.name}"
        await connection.execute(
            f"create temp table {name} (like {of_schema} including all) on commit drop"
        )
        await connection.execute(
            f"insert into pg_temp.{name} select * from {of_schema} t where {chosen(table)}",
            timeout=NO_TIMEOUT,
        )
    definitions = await load_definitions(connection)
    places = await counted(connection, events)
    for partition, end in ends.items():
        after = places.get(partition, (-1, -1))
        page = await events_after(connection, partition, after, end)
        while page.last is not None:
            tally = Tally(definitions)
            for uncounted in page.events:
                tally.count(decode_fact(uncounted.value))
            await commit_tally(connection, "tally", events, [], tally)
            page = await events_after(connection, partition, page.last, end)
