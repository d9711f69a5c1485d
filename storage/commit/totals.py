"""The totals of the tally: written with the offset up to which they hold, and read at its start.

Rows are tuples in the column order of their tables (`storage/schema/schema.sql`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import asyncpg
import msgspec

from execstream.storage.commit.consumer_offsets import OffsetCommit
from execstream.streams.statuses import ExecutionStatus
from execstream.streams.totals.aggregation import (
    MINUTES_PER_DAY,
    MINUTES_PER_HOUR,
    Tally,
    Totals,
    minute_of,
    time_of,
)
from execstream.streams.totals.live_values import (
    MOST_AHEAD,
    RECENT_DAYS,
    RECENT_MINUTES,
    LiveStats,
    block_key,
    node_key,
)

Row = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode
_STATUSES = [
    ExecutionStatus.INCOMPLETE,
    ExecutionStatus.QUEUED,
    ExecutionStatus.RUNNING,
    ExecutionStatus.COMPLETED,
    ExecutionStatus.TERMINATED,
    ExecutionStatus.FAILED,
    ExecutionStatus.REVIEW,
]

_COMMIT = (
    "select commit_tally($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
)


async def commit_tally(
    connection: asyncpg.Connection,
    consumer: str,
    topic: str,
    offset_commits: Sequence[OffsetCommit],
    tally: Tally,
) -> None:
    """Add `tally` to the totals and move the offsets, as a whole.

    The published place of a move is the source of the last event that was counted. Errors of the
    fence are raised (`storage.commit.consumer_offsets`); a repeated commit is not an error.
    """
    await connection.execute(
        _COMMIT,
        consumer,
        topic,
        [offset_commit.row() for offset_commit in offset_commits],
        [
            (
                time_of(minute),
                partition,
                block_id,
                *_figures(block.totals)[:_FIRST_FIGURES],
                _encode(block.histogram).decode(),
                _encode(block.error_classes).decode(),
                *_figures(block.totals)[_FIRST_FIGURES:],
            )
            for (partition, block_id, minute), block in tally.blocks.items()
        ],
        [(_day(day), *place, *_figures(totals)) for (*place, day), totals in tally.nodes.items()],
        _graph_rows(tally),
        [
            (_day(day), partition, user_id, *msgspec.structs.astuple(user))
            for (partition, user_id, day), user in tally.users.items()
        ],
        _error_rows(tally),
        [error.latest for error in tally.errors.values()],
        [error.is_bounded for error in tally.errors.values()],
        _run_error_rows(tally),
        [error.latest for error in tally.run_errors.values()],
        tally.erased,
        [
            (_day(day), partition, per, subject, cost)
            for (partition, per, subject, day), cost in tally.spending.items()
        ],
        _total_rows(
            tally.block_places,
            ((key[:-1], time_of(key[-1]), block.totals) for key, block in tally.blocks.items()),
        ),
        _total_rows(
            tally.node_places,
            ((key[:-1], _day(key[-1]), totals) for key, totals in tally.nodes.items()),
        ),
    )


_FIRST_FIGURES = 8  # of `block_minute`, before its columns of JSON; the others came later


def _figures(totals: Totals) -> Row:
    return msgspec.structs.astuple(totals)


def _day(day: int) -> date:
    return time_of(day * MINUTES_PER_DAY).date()


def _graph_rows(tally: Tally) -> list[Row]:
    rows: dict[tuple[int, str, int], dict[str, int]] = {}
    for (partition, graph_id, minute, status), offset_commits in tally.graphs.items():
        rows.setdefault((partition, graph_id, minute), {})[status] = offset_commits
    return [
        (time_of(minute), partition, graph_id, *(by_status.get(s, 0) for s in _STATUSES))
        for (partition, graph_id, minute), by_status in rows.items()
    ]


def _error_rows(tally: Tally) -> list[Row]:
    return [
        (
            time_of(hour * MINUTES_PER_HOUR),
            partition,
            block_id,
            fingerprint,
            error.fault.kind,
            error.fault.masked,
            error.failures,
            error.graph_exec_id,
            error.node_exec_id,
            error.at,
        )
        for (partition, block_id, hour, fingerprint), error in tally.errors.items()
    ]


def _run_error_rows(tally: Tally) -> list[Row]:
    return [
        (
            time_of(hour * MINUTES_PER_HOUR),
            partition,
            run_id,
            block_id,
            fingerprint,
            error.kind,
            error.failures,
            error.node_exec_id,
            error.at,
        )
        for (partition, run_id, block_id, hour, fingerprint), error in tally.run_errors.items()
    ]


def _total_rows(
    places: dict[Any, tuple[int, int]],
    parts: Iterable[tuple[Row, date | datetime, Totals]],
) -> list[Row]:
    """Each block or node once: its place, its newest minute or day, and the sum of its parts."""
    sums: dict[Row, tuple[date | datetime, Totals]] = {}
    for key, when, totals in parts:
        newest, total = sums.get(key, (when, Totals()))
        total.add(totals)
        sums[key] = (max(newest, when), total)
    return [(*key, *places[key], newest, *_figures(total)) for key, (newest, total) in sums.items()]


_FIRST_DAY = date(1970, 1, 1)


# Of a partition, in the live tables: those with the latest events. There is no limit to the blocks
# and nodes that there ever were, since producers choose their ids.
MOST_BLOCKS = 5_000
MOST_NODES = 20_000


@dataclass(slots=True)
class Live:
    """The initial content of the live tables: entries by key, those touched last at the end; and
    the newest minute and day by partition.
    """

    blocks: dict[str, LiveStats] = field(default_factory=dict)
    nodes: dict[str, LiveStats] = field(default_factory=dict)
    newest_minute: dict[int, int] = field(default_factory=dict)
    newest_day: dict[int, int] = field(default_factory=dict)


# Integers of any size; as text they are read ten times faster than as decimals.
_FIGURES = (
    "added, added_failed, ended, failed, terminated, duration_ms::text, cost::text, tokens::text, "
    "cascaded, caller_failed, skewed"
)
_PLACE = "position_offset, position_index"

_BLOCK_TOTALS = f"""
select b.*
  from unnest($1::int[]) as wanted(partition)
 cross join lateral (
    select source_partition, block_id, {_PLACE}, {_FIGURES}
      from block_total where source_partition = wanted.partition
     order by position_offset desc, position_index desc limit {MOST_BLOCKS}) b
 order by position_offset, position_index
"""
_NODE_TOTALS = f"""
select n.*
  from unnest($1::int[]) as wanted(partition)
 cross join lateral (
    select source_partition, graph_id, node_id, {_PLACE}, {_FIGURES}
      from node_total where source_partition = wanted.partition
     order by position_offset desc, position_index desc limit {MOST_NODES}) n
 order by position_offset, position_index
"""
_NEWEST_MINUTES = f"""
select source_partition,
       case when max(newest) <= now() + interval '{MOST_AHEAD} minutes' then max(newest)
            else date_trunc('minute', now()) end
  from block_total where source_partition = any($1) group by 1
"""
_LATEST_DAY = f"(now() + interval '{MOST_AHEAD} minutes')::date"
_NEWEST_DAYS = f"""
select source_partition,
       case when max(newest) <= {_LATEST_DAY} then max(newest) else now()::date end
  from node_total where source_partition = any($1) group by 1
"""

# The recent past ends at the newest minute of the partition, or at the clock where that is ahead of
# it.
_MINUTES = f"""
select m.source_partition, m.block_id, (extract(epoch from m.minute) / 60)::bigint,
       m.ended, m.failed
  from unnest($1::int[], $2::timestamptz[]) as newest(partition, minute)
  join block_minute m on m.source_partition = newest.partition
   and m.minute > newest.minute - interval '{RECENT_MINUTES} minutes'
   and m.minute <= now() + interval '{MOST_AHEAD} minutes'
  join unnest($3::int[], $4::text[]) as held(source_partition, block_id)
 using (source_partition, block_id)
 where m.ended > 0
"""

_DAYS = f"""
select n.source_partition, n.graph_id, n.node_id, n.day - date '1970-01-01', n.ended, n.failed
  from unnest($1::int[], $2::date[]) as newest(partition, day)
  join node_day n on n.source_partition = newest.partition
   and n.day > newest.day - {RECENT_DAYS} and n.day <= {_LATEST_DAY}
 where n.ended > 0
"""


_WANTED_BLOCKS = """
  from unnest($1::int[], $2::text[]) as wanted(source_partition, block_id)
  join block_total t using (source_partition, block_id)
"""
_BLOCK_TOTALS_OF = f"""
select source_partition, block_id, {_PLACE}, {_FIGURES} {_WANTED_BLOCKS}
"""
# A look-up for each minute: all minutes of the last hour have many more rows where ids are made up.
_LATEST_MINUTE = f"date_trunc('minute', now()) + interval '{MOST_AHEAD} minutes'"
_MINUTES_OF = f"""
select source_partition, block_id, (extract(epoch from m.minute) / 60)::bigint, m.ended, m.failed
{_WANTED_BLOCKS}
 cross join generate_series(
    case when t.newest <= {_LATEST_MINUTE} then t.newest else date_trunc('minute', now()) end
        - interval '{RECENT_MINUTES - 1} minutes',
    least(t.newest, {_LATEST_MINUTE}), interval '1 minute') as recent (minute)
  join block_minute m using (source_partition, block_id, minute)
 where t.ended > 0 and m.ended > 0
"""
_WANTED_NODES = """
  from unnest($1::int[], $2::text[], $3::text[]) as wanted(source_partition, graph_id, node_id)
  join node_total t using (source_partition, graph_id, node_id)
"""
_TOTALS_OF = f"""
select source_partition, graph_id, node_id, {_PLACE}, {_FIGURES} {_WANTED_NODES}
"""
_DAYS_OF = f"""
select source_partition, graph_id, node_id, d.day - date '1970-01-01', d.ended, d.failed
{_WANTED_NODES}
 cross join generate_series(0, {RECENT_DAYS - 1}) as ago
  join node_day d using (source_partition, graph_id, node_id)
 where d.day = least(t.newest, {_LATEST_DAY}) - ago and d.ended > 0
"""


async def load_live(connection: asyncpg.Connection, partitions: Sequence[int]) -> Live:
    """The totals of `partitions`, as they are committed, with their recent past."""
    live = Live()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        totals = await connection.fetch(_BLOCK_TOTALS, partitions)
        held = [row[0] for row in totals], [row[1] for row in totals]
        minutes = dict(await connection.fetch(_NEWEST_MINUTES, partitions))
        newest = list(minutes), list(minutes.values())
        live.blocks = _blocks(totals, await connection.fetch(_MINUTES, *newest, *held))
        days = dict(await connection.fetch(_NEWEST_DAYS, partitions))
        live.nodes = _nodes(
            await connection.fetch(_NODE_TOTALS, partitions),
            await connection.fetch(_DAYS, list(days), list(days.values())),
        )
    live.newest_minute = {partition: minute_of(minute) for partition, minute in minutes.items()}
    live.newest_day = {partition: (day - _FIRST_DAY).days for partition, day in days.items()}
    return live


async def load_blocks(
    connection: asyncpg.Connection, blocks: Sequence[tuple[int, str]]
) -> dict[str, LiveStats]:
    """The totals of some blocks, (source partition, block), with the recent minutes up to the
    newest of each."""
    wanted = list(zip(*blocks, strict=True))
    return _blocks(
        await connection.fetch(_BLOCK_TOTALS_OF, *wanted),
        await connection.fetch(_MINUTES_OF, *wanted),
    )


def _blocks(totals: Sequence[Row], minutes: Sequence[Row]) -> dict[str, LiveStats]:
    """Rows of blocks by key, with their minutes."""
    blocks = {
        block_key(partition, block_id): _stats(offset, index, figures)
        for partition, block_id, offset, index, *figures in totals
    }
    for partition, block_id, minute, *counts in minutes:
        blocks[block_key(partition, block_id)].recent[minute] = (counts[0], counts[1])
    return blocks


async def load_nodes(
    connection: asyncpg.Connection, nodes: Sequence[tuple[int, str, str]]
) -> dict[str, LiveStats]:
    """The totals of some nodes, (source partition, graph, node), with the recent days up to the
    newest of each."""
    wanted = list(zip(*nodes, strict=True))
    return _nodes(
        await connection.fetch(_TOTALS_OF, *wanted), await connection.fetch(_DAYS_OF, *wanted)
    )


def _nodes(totals: Sequence[Row], days: Sequence[Row]) -> dict[str, LiveStats]:
    """Rows of nodes by key, with the days of those that are there."""
    nodes = {
        node_key(partition, graph_id, node_id): _stats(offset, index, figures)
        for partition, graph_id, node_id, offset, index, *figures in totals
    }
    for partition, graph_id, node_id, day, *counts in days:
        stats = nodes.get(node_key(partition, graph_id, node_id))
        if stats is not None:
            stats.recent[day] = (counts[0], counts[1])
    return nodes


def _stats(offset: int, index: int, figures: list[Any]) -> LiveStats:
    return LiveStats((offset, index), Totals(*map(int, figures)), {})
