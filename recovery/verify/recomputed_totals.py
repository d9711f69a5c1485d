"""Totals recomputed from the log, and the part of the log that is left for it.

Everything runs in one transaction of isolation repeatable_read; its end drops the recomputed
totals.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import asyncpg

from execstream.recovery.verify.row_comparison import Differing, differing
from execstream.storage.commit.totals import commit_tally
from execstream.storage.connections import quoted
from execstream.storage.schema.tables import OF_ALL_TIME, TOTALS, Table
from execstream.streams.events import SourceOffset
from execstream.streams.totals.aggregation import Tally

_PARTLY_KEPT = """
select id from unnest($1::uuid[]) as x(id)
 where exists (select from graph_execution g where g.id = x.id and g.trimmed_at is not null
                  and not exists (select from journal w
                                   where w.graph_exec_id = g.id and w.seq = 1))
    or exists (select from journal j where j.graph_exec_id = x.id
                  and j.type = 'graph.deleted' and j.detail ->> 'hard' = 'true')
"""


async def partly_kept(connection: asyncpg.Connection, run_ids: Iterable[str]) -> set[str]:
    """Which of the runs are erased, or have lost their journal to retention."""
    rows = await connection.fetch(_PARTLY_KEPT, list(run_ids))
    return {str(row["id"]) for row in rows}


# ---- totals --------------------------------------------------------------------------------

_COUNTED = """
select partition, published_offset, published_index from consumer_offset
 where consumer = 'tally' and topic = $1
"""


async def counted(connection: asyncpg.Connection, topic: str) -> dict[int, SourceOffset]:
    """Source of the last event that the tally has counted, by partition."""
    return {row[0]: (row[1], row[2]) for row in await connection.fetch(_COUNTED, topic)}


class Unknown(NamedTuple):
    """Days of a partition with incomplete events."""

    partition: int
    first: date
    last: date


# Days of lost events that may have been counted: a temporary table names the affected rows of
# totals (alias `t`).
UNKNOWN = "create temp table unknown (partition int, first date, last date) on commit drop"

_TRIMMED = """
select source_partition, min(created_at)::date, max(updated_at)::date from graph_execution g
 where trimmed_at is not null
   and not exists (select from journal w where w.graph_exec_id = g.id and w.seq = 1)
 group by source_partition, created_at::date
"""


async def trimmed_days(connection: asyncpg.Connection) -> list[Unknown]:
    """Partitions and days of runs whose journal retention has dropped."""
    return [Unknown(*row) for row in await connection.fetch(_TRIMMED)]


class RecomputedTotals:
    """Recomputed totals, in tables that only this session sees."""

    def __init__(self, connection: asyncpg.Connection, schema: str, topic: str) -> None:
        self._connection = connection
        self._schema = quoted(schema)
        self._topic = topic

    async def begin(self) -> None:
        """Make the tables; for this session they stand in for the schema's."""
        for table in TOTALS:
            await self._connection.execute(
                f"""create temp table {table.name} (like {self._schema}.{table.name} including all)
                    on commit drop"""
            )
        await self._connection.execute(UNKNOWN)

    async def end(self) -> None:
        """Drop them: the session sees the schema's again."""
        names = ", ".join(f"pg_temp.{table.name}" for table in TOTALS)
        await self._connection.execute(f"drop table {names}")

    async def add(self, tally: Tally) -> None:
        await commit_tally(self._connection, "tally", self._topic, [], tally)

    async def differing(
        self, partitions: Sequence[int], unknown: Iterable[Unknown]
    ) -> list[Differing]:
        """Totals of `partitions` that are not as recounted. Days that are `unknown`, and totals of
        all time of their partitions, are left out."""
        records = list(unknown)
        await self._connection.copy_records_to_table("unknown", records=records)
        found: list[Differing] = []
        for table in TOTALS:
            where = f"source_partition = any($1::int[]) and not {is_unknown(table)}"
            recomputed_from_rows, stored = (
                f"(select * from {schema}.{table.name} t where {where})"
                for schema in ("pg_temp", self._schema)
            )
            found += await differing(
                self._connection, table, recomputed_from_rows, stored, [list(partitions)]
            )
        return found


def is_unknown(table: Table) -> str:
    """A condition on rows of `table`; days are those of the session's time zone, which is UTC."""
    of_partition = "select from unknown u where u.partition = t.source_partition"
    if table in OF_ALL_TIME:
        return f"exists ({of_partition})"
    return f"exists ({of_partition} and t.{table.key[0]}::date between u.first and u.last)"


def merged(unknown: Iterable[Unknown]) -> list[Unknown]:
    """The same days, with spans that meet made one."""
    spans: list[Unknown] = []
    for one in sorted(unknown):
        last = spans[-1] if spans else None
        if last is None or last.partition != one.partition or last.last < one.first:
            spans.append(one)
        elif one.last > last.last:
            spans[-1] = last._replace(last=one.last)
    return spans
