"""Current figures of blocks, from the totals of the tally.

Every open page asks each second, so answers are kept: the last two hours for half a second, earlier
hours for a minute, durations for some seconds.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from execstream.dashboard.reads.catalogue import Block, list_blocks
from execstream.dashboard.reads.kept_answers import Kept
from execstream.storage.reads.block_figures import IS_BUCKET, SOUND_COUNTS
from execstream.streams.totals.histogram import quantile

WINDOWS = {"1m": 1, "5m": 5, "1h": 60}  # minutes
SPARKLINE = 60  # minutes
RECENT = 120  # minutes that are counted again each time
TOP_ERRORS = 20
# Blocks in an answer, of which each has some kB: producers choose the ids.
MOST_BLOCKS = 2_000

RECENT_FOR = 0.5  # seconds an answer is good for
DURATIONS_FOR = 5.0
PAST_FOR = 60.0

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Counts(NamedTuple):
    """Steps that ended, those of them that failed, those of these by the caller's fault, steps that
    the end of their run ended, and steps that ended at a skewed time."""

    ended: int = 0
    failed: int = 0
    caller_failed: int = 0
    cascaded: int = 0
    skewed: int = 0


NONE = Counts()


class Before(BaseModel):
    """The window of the same length before."""

    ended: int
    failed: int
    caller_failed: int
    cascaded: int
    skewed: int


class Window(Before):
    """Steps that ended within so many whole minutes and the one that runs; rates in percent.

    `failed` leaves out the steps that the end of their run ended (`cascaded`), and those that
    failed because of a child run; `caller_failed` are those of `failed` that the caller's input or
    credentials caused. Steps that ended at a time more than an hour ahead of the broker's are
    `skewed` and in none of these.
    """

    error_rate: float | None
    caller_error_rate: float | None
    before: Before


class Durations(BaseModel):
    """Durations of the steps that ended within `window`, in milliseconds, to within 2 %."""

    window: Literal["1h"] = "1h"

    p50: float | None
    p95: float | None
    p99: float | None


class LiveBlock(BaseModel):
    """`minutes`: [minute, ended, failed] of the last hour, the newest last."""

    block_id: str
    name: str | None
    block_type: str | None
    windows: dict[str, Window]
    minutes: list[tuple[datetime, int, int]]
    duration_ms: Durations | None


class BlockError(BaseModel):
    """Failures of a block that read the same, with the newest step that failed so."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    text: str
    error_class: str = Field(alias="class")
    count: int
    last_at: datetime
    graph_exec_id: str
    node_exec_id: str


@dataclass(slots=True)
class _Past:
    """Counts per block before `recent_since`: within a day, and within the day before. `chosen`:
    the blocks to be read, where there are more than MOST_BLOCKS.
    """

    recent_since: datetime
    counts: dict[str, tuple[Counts, Counts]]
    chosen: list[str] | None


_COUNTS = """
sum(ended)::bigint as ended, sum(failed)::bigint as failed,
       sum(caller_failed)::bigint as caller_failed, sum(cascaded)::bigint as cascaded,
       sum(skewed)::bigint as skewed
"""
_ANY = "(ended > 0 or cascaded > 0 or skewed > 0)"
_BUSIEST = f"""
select block_id from block_minute where minute >= $1 and {_ANY}
 group by 1 order by sum(ended + cascaded + skewed) desc, block_id limit {MOST_BLOCKS + 1}
"""
_CHOSEN = "($1::text[] is null or block_id = any ($1))"
_PAST = f"""
select block_id, minute >= $3 as is_recent, {_COUNTS}
  from block_minute where {_CHOSEN} and minute >= $2 and minute < $4 and {_ANY}
 group by 1, 2
"""
_RECENT = f"""
select block_id, minute, {_COUNTS}
  from block_minute where {_CHOSEN} and minute >= $2 and minute <= $3 and {_ANY}
 group by 1, 2
"""
_DURATIONS = f"""
select block_id, bucket::int as bucket, sum(count::bigint)::bigint as count
  from block_minute,
       jsonb_each_text({SOUND_COUNTS.format("histogram")}) as each(bucket, count)
 where {_CHOSEN} and minute >= $2 and {IS_BUCKET}
 group by block_id, bucket
"""
_ERRORS = """
select masked as text, class as error_class, sum(failures)::bigint as count,
       max(last_at) as last_at,
       (array_agg(graph_exec_id order by last_at desc))[1]::text as graph_exec_id,
       (array_agg(node_exec_id order by last_at desc))[1]::text as node_exec_id
  from block_error where block_id = $1 and hour > $2
 group by fingerprint, masked, class
 order by count desc, last_at desc limit $3
"""


class LiveBlocks:
    """Reads of one server."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self._db = db
        self._past = Kept(PAST_FOR, self._read_past)
        self._durations = Kept(DURATIONS_FOR, self._read_durations)
        self._blocks = Kept(RECENT_FOR, self._read)

    async def all(self) -> list[LiveBlock]:
        """Blocks of which a step ended within two days, by id; where there are more of them, the
        MOST_BLOCKS with the most steps, chosen every PAST_FOR seconds.
        """
        return await self._blocks.get()

    async def errors(self, block_id: str) -> list[BlockError]:
        """The most frequent errors within a day."""
        since = datetime.now(UTC) - _DAY
        return [
            BlockError(**row) for row in await self._db.fetch(_ERRORS, block_id, since, TOP_ERRORS)
        ]

    async def _read(self) -> list[LiveBlock]:
        past, durations = await self._past.get(), await self._durations.get()
        now = _this_minute()
        recent = past.chosen, past.recent_since, now
        minutes: defaultdict[str, dict[datetime, Counts]] = defaultdict(dict)
        for row in await self._db.fetch(_RECENT, *recent):
            block_id, minute, *counts = row
            minutes[block_id][minute] = Counts(*counts)
        named = {block.block_id: block for block in await list_blocks(self._db)}
        return [
            _live(block_id, named.get(block_id), now, minutes[block_id], past, durations)
            for block_id in sorted({*minutes, *past.counts})[:MOST_BLOCKS]
        ]

    async def _read_past(self) -> _Past:
        now = _this_minute()
        recent_since = now - RECENT * _MINUTE
        busiest = [row[0] for row in await self._db.fetch(_BUSIEST, now - 2 * _DAY)]
        chosen = busiest[:MOST_BLOCKS] if len(busiest) > MOST_BLOCKS else None
        rows = await self._db.fetch(_PAST, chosen, now - 2 * _DAY, now - _DAY, recent_since)
        counts: defaultdict[str, dict[bool, Counts]] = defaultdict(dict)
        for block_id, is_recent, *some in rows:
            counts[block_id][is_recent] = Counts(*some)
        return _Past(
            recent_since,
            {
                block_id: (spans.get(True, NONE), spans.get(False, NONE))
                for block_id, spans in counts.items()
            },
            chosen,
        )

    async def _read_durations(self) -> dict[str, Durations]:
        buckets: defaultdict[str, dict[int, int]] = defaultdict(dict)
        chosen = (await self._past.get()).chosen
        for row in await self._db.fetch(_DURATIONS, chosen, _this_minute() - SPARKLINE * _MINUTE):
            buckets[row["block_id"]][row["bucket"]] = row["count"]
        return {
            block_id: Durations(
                p50=quantile(counts, 0.50), p95=quantile(counts, 0.95), p99=quantile(counts, 0.99)
            )
            for block_id, counts in buckets.items()
        }


def _live(
    block_id: str,
    named: Block | None,
    now: datetime,
    minutes: Mapping[datetime, Counts],
    past: _Past,
    durations: Mapping[str, Durations],
) -> LiveBlock:
    day, day_before = past.counts.get(block_id, (NONE, NONE))
    windows = {name: _window(now, length, minutes) for name, length in WINDOWS.items()}
    windows["24h"] = _with_rate(_sum(day, *minutes.values()), day_before)
    times = [now - ago * _MINUTE for ago in reversed(range(SPARKLINE))]
    return LiveBlock(
        block_id=block_id,
        name=named and named.name,
        block_type=named and named.block_type,
        windows=windows,
        minutes=[(when, *minutes.get(when, NONE)[:2]) for when in times],
        duration_ms=durations.get(block_id),
    )


def _window(now: datetime, length: int, minutes: Mapping[datetime, Counts]) -> Window:
    begin = now - length * _MINUTE
    first = begin - length * _MINUTE
    return _with_rate(
        _sum(*(counts for when, counts in minutes.items() if when >= begin)),
        _sum(*(counts for when, counts in minutes.items() if first <= when < begin)),
    )


def _with_rate(counts: Counts, before: Counts) -> Window:
    return Window(
        **counts._asdict(),
        error_rate=_rate(counts.failed, counts.ended),
        caller_error_rate=_rate(counts.caller_failed, counts.ended),
        before=Before(**before._asdict()),
    )


def _rate(part: int, ended: int) -> float | None:
    return part / ended * 100 if ended else None


def _sum(*counts: Counts) -> Counts:
    return Counts(*map(sum, zip(*counts, strict=True))) if counts else NONE


def _this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)
