"""Figures of blocks in a span of time, and their errors, from the totals of the tally.

The totals follow the rows by less than a second while a tally worker runs.
"""

import re
from datetime import datetime
from uuid import UUID

import asyncpg
from pydantic import BaseModel

from execstream.streams.totals.histogram import quantile


class BlockFigures(BaseModel):
    """A block in the minutes from `start` to `end`. Durations in milliseconds, within 2 %; `cost`
    in cents.

    `failed` leaves out the steps that the end of their run ended (`cascaded`), and those that
    failed because of a child run, which are of class `child`; `caller_failed` are those of `failed`
    that the caller's input or credentials caused. Steps that ended at a time more than an hour
    ahead of the broker's are `skewed` and in none of these.
    """

    block_id: str
    name: str | None
    start: datetime
    end: datetime
    added: int
    ended: int
    failed: int
    terminated: int
    cascaded: int
    caller_failed: int
    skewed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    cost: int
    tokens: int
    error_classes: dict[str, int]

    @property
    def error_rate(self) -> float:
        """Failed of ended steps in percent, 0 to 100."""
        return self.failed / self.ended * 100 if self.ended else 0.0

    @property
    def caller_error_rate(self) -> float:
        """Steps that failed by the caller's fault, in percent of ended steps, 0 to 100."""
        return self.caller_failed / self.ended * 100 if self.ended else 0.0


class TopError(BaseModel):
    """Failures of a block with one fingerprint, and the last step that failed so."""

    block_id: str
    fingerprint: str
    error_class: str
    masked: str
    failures: int
    graph_exec_id: UUID
    node_exec_id: UUID
    last_at: datetime


# Counts as the tally writes them: of anything else, nothing is counted.
SOUND_COUNTS = """case when jsonb_typeof({0}) = 'object' and not {0}
    @? '$.* ? (@.type() <> "number" || @ > 1000000000000000000)' then {0} else '{{}}' end"""
IS_BUCKET = r"bucket ~ '^-?[0-9]{1,9}$'"
_BUCKET = re.compile(r"-?[0-9]{1,9}", re.ASCII)

# By the primary key, which begins with the minute.
_FIGURES = f"""
select m.block_id, max(b.name) as name, sum(added) as added, sum(ended) as ended,
    sum(failed) as failed, sum(terminated) as terminated, sum(cascaded) as cascaded,
    sum(caller_failed) as caller_failed, sum(skewed) as skewed, sum(cost) as cost,
    sum(tokens) as tokens, sum_counts({SOUND_COUNTS.format("histogram")}) as histogram,
    sum_counts({SOUND_COUNTS.format("error_classes")}) as error_classes
from block_minute m left join block b on b.id = m.block_id
where minute >= date_trunc('minute', $1::timestamptz) and minute < $2
group by m.block_id
order by sum(failed)::float8 / greatest(sum(ended), 1) desc, sum(ended) desc, m.block_id
"""


async def get_block_figures(db: asyncpg.Pool, start: datetime, end: datetime) -> list[BlockFigures]:
    """Figures of blocks over the steps of all owners, the most failing block first.

    They cover the minutes from that of `start` to `end`.
    """
    figures = []
    span = {"start": start.replace(second=0, microsecond=0), "end": end}
    for row in await db.fetch(_FIGURES, start, end):
        about = dict(row) | span
        histogram = about.pop("histogram")
        counts = {
            int(one): int(count) for one, count in histogram.items() if _BUCKET.fullmatch(one)
        }
        for share in (50, 95, 99):
            about[f"p{share}_ms"] = quantile(counts, share / 100)
        figures.append(BlockFigures(**about))
    return figures


_TOP_ERRORS = """
select block_id, fingerprint, min(class) as error_class, min(masked) as masked,
    sum(failures) as failures, max(last_at) as last_at,
    (array_agg(graph_exec_id order by last_at desc))[1] as graph_exec_id,
    (array_agg(node_exec_id order by last_at desc))[1] as node_exec_id
from block_error
where hour >= date_trunc('hour', $1::timestamptz) and hour < $2
  and ($3::text is null or block_id = $3)
group by block_id, fingerprint
order by sum(failures) desc, max(last_at) desc limit $4
"""


async def get_top_errors(
    db: asyncpg.Pool,
    start: datetime,
    end: datetime,
    block_id: str | None = None,
    limit: int = 20,
) -> list[TopError]:
    """The most frequent errors in steps of all owners, of one block or of all.

    They cover the hours from that of `start` to `end`.
    """
    return [TopError(**row) for row in await db.fetch(_TOP_ERRORS, start, end, block_id, limit)]
