"""The data of `execstream watch`, loaded at once: runs, rates, lag, blocks, alerts."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import asyncpg
from pydantic import BaseModel
from redis.asyncio import Redis

from execstream.dashboard.reads.consumer_lag import lags, load_positions
from execstream.dashboard.reads.live_blocks import LiveBlock, LiveBlocks
from execstream.dashboard.reads.run_summaries import count_by_status
from execstream.kafka.cluster import Brokers
from execstream.storage.alerts.records import Alert, list_alerts
from execstream.storage.reads.run_filters import RunFilters
from execstream.streams.statuses import ExecutionStatus

MOST_BLOCKS = 10
MOST_ALERTS = 5


class Overview(BaseModel):
    """The state of the installation.

    Attributes:
        runs: their number, by status.
        commands: outcomes of all that were read, counted.
        commands_per_second: the same within the last `seconds`; None at the first look.
        lag: records that each consumer has yet to read; None while Kafka does not answer.
        blocks: those that fail most within the last hour.
        alerts: the newest that are open; `open_alerts`: their number, up to 100.
    """

    at: datetime
    runs: dict[ExecutionStatus, int]
    commands: dict[str, int]
    commands_per_second: dict[str, float] | None
    seconds: float | None
    lag: dict[str, int] | None
    blocks: list[LiveBlock]
    alerts: list[Alert]
    open_alerts: int


_OUTCOMES = """
select coalesce(sum(applied), 0)::bigint as applied,
       coalesce(sum(duplicate), 0)::bigint as duplicate,
       coalesce(sum(refused), 0)::bigint as refused, coalesce(sum(dead), 0)::bigint as dead,
       coalesce(sum(quarantined), 0)::bigint as quarantined
  from consumer_offset where consumer = 'apply'
"""


class Overviewer:
    """Looks again and again."""

    def __init__(
        self,
        db: asyncpg.Pool,
        redis: Redis,
        brokers: Brokers,
        topic_prefix: str,
        redis_prefix: str,
    ) -> None:
        self._db = db
        self._redis = redis
        self._brokers = brokers
        self._prefixes = (topic_prefix, redis_prefix)
        self._blocks = LiveBlocks(db)
        self._before: tuple[float, dict[str, int]] | None = None

    async def look(self) -> Overview:
        """The state now. Raises asyncpg's errors while Postgres is unavailable."""
        counted = await count_by_status(self._db, RunFilters())
        commands = dict(await self._db.fetchrow(_OUTCOMES))
        rates, seconds = self._rates(commands)
        alerts, _ = await list_alerts(self._db, is_open=True, limit=100)
        return Overview(
            at=datetime.now(UTC),
            runs=counted.counts,
            commands=commands,
            commands_per_second=rates,
            seconds=seconds,
            lag=await self._lag(),
            blocks=sorted(await self._blocks.all(), key=_least_failing)[::-1][:MOST_BLOCKS],
            alerts=alerts[:MOST_ALERTS],
            open_alerts=len(alerts),
        )

    def _rates(self, commands: Mapping[str, int]) -> tuple[dict[str, float] | None, float | None]:
        """Commands per second since the last look, and the seconds since then."""
        now = time.monotonic()
        before, self._before = self._before, (now, dict(commands))
        if before is None:
            return None, None
        then, counts = before
        seconds = now - then
        rates = {name: round((n - counts[name]) / seconds, 1) for name, n in commands.items()}
        return rates, round(seconds, 3)

    async def _lag(self) -> dict[str, int] | None:
        try:
            bounds = (await self._brokers.bounds()).of
        except ConnectionError:
            return None
        return lags(bounds, await load_positions(self._db, self._redis, *self._prefixes))


def _least_failing(block: LiveBlock) -> tuple[float, int]:
    hour = block.windows["1h"]
    return hour.error_rate or 0.0, hour.ended
