"""The import: read, plan, send, wait for the workers, compare.

Nothing is kept beside the data: a run that is here as far as its plan leads is not sent again, and
a command that is has no second effect. So an import that was killed continues when it is started
again, and a later one brings the changes since.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TypeVar

import asyncpg
import msgspec

from execstream.config.settings import Settings
from execstream.kafka.producer import BulkProducer
from execstream.recovery.history_import.derived_ids import command_id, execution_id, moment
from execstream.recovery.history_import.receipt import Receipt
from execstream.recovery.history_import.run_plan import RunPlan, plan_run
from execstream.recovery.history_import.source_database import SourceDatabase
from execstream.recovery.history_import.source_rows import (
    Difference,
    LeftOut,
    RowId,
    SourceKeyValue,
    SourceRun,
    Table,
)
from execstream.recovery.history_import.step_commands import any_json
from execstream.recovery.history_import.target_rows import (
    load_key_values,
    load_progress,
    load_runs,
)
from execstream.storage.schema.day_partitions import ensure_day
from execstream.streams.commands import SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.errors import Unreachable
from execstream.streams.imported import HEADERS
from execstream.streams.outcomes import Dead
from execstream.streams.progress import ProgressCallback
from execstream.streams.topics import COMMANDS

MOST_AHEAD = 20_000  # commands that the workers have not applied: live ones queue behind them
PATIENCE = 60.0  # seconds without progress of the workers
_LOOK_INTERVAL = 0.1  # seconds

T = TypeVar("T")

_OFFSETS = """
select partition, next_offset from consumer_offset where consumer = 'apply' and topic = $1
"""


class Importer:
    """One import into the installation of `settings`, by way of `db` and `producer`.

    Attributes:
        sent: commands.
        unchanged: runs and key-values that were here already.
    """

    def __init__(
        self,
        settings: Settings,
        source: SourceDatabase,
        db: asyncpg.Connection,
        producer: BulkProducer,
        *,
        is_nearest: bool,
    ) -> None:
        self.sent = self.unchanged = 0
        self._settings, self._source, self._db = settings, source, db
        self._producer = producer
        self._is_nearest = is_nearest
        self._topic = settings.topic_prefix + COMMANDS.name
        self._days: set[date] = set()
        self._unwatched = 0

    async def send_all(self, report_progress: ProgressCallback) -> None:
        """Send the commands of all rows; return when the workers have applied them.

        Raises:
            Unreachable: no worker applies them.
        """
        total, done = await self._source.count(), 0
        async for runs in _read_ahead(self._source.runs()):
            await self._send_runs([self._plan(run) for run in runs])
            done += sum(map(_rows_of, runs))
            report_progress("Rows sent", done, total)
        async for values in self._source.key_values():
            await self._send_key_values(values)
            done += len(values)
            report_progress("Rows sent", done, total)
        await self._producer.flush()
        await self._wait(0)

    async def compare_all(self, report_progress: ProgressCallback) -> Receipt:
        """Compare all rows with those here."""
        receipt = Receipt()
        total, done = await self._source.count(), 0
        async for runs in _read_ahead(self._source.runs()):
            ids = [execution_id(run.id) for run in runs]
            found = await load_runs(self._db, ids, {run.created.date() for run in runs})
            for run_id, run in zip(ids, runs, strict=True):
                receipt.add(self._plan(run), found.get(run_id))
            done += sum(map(_rows_of, runs))
            report_progress("Rows compared", done, total)
        async for values in self._source.key_values():
            await self._compare_key_values(values, receipt)
        return receipt

    def _plan(self, run: SourceRun) -> RunPlan:
        max_bytes = self._settings.max_command_bytes
        return plan_run(run, is_nearest=self._is_nearest, max_bytes=max_bytes)

    # ---- runs ------------------------------------------------------------------------------

    async def _send_runs(self, plans: Sequence[RunPlan]) -> None:
        ids = [plan.state.id for plan in plans if plan.state is not None]
        known = await load_progress(self._db, ids)
        for plan in plans:
            if plan.state is None:
                continue
            progress = known.get(plan.state.id)
            if progress is not None and progress.last_seq >= plan.state.last_seq:
                self.unchanged += 1
                continue
            await self._ensure_day(plan.run.created.date())
            partition = None if progress is None else progress.partition
            for value in plan.records:
                await self._send(plan.state.id, value, partition)

    async def _ensure_day(self, day: date) -> None:
        if day not in self._days:
            await ensure_day(self._db, day)
            self._days.add(day)

    async def _send(self, key: str, value: bytes, partition: int | None = None) -> None:
        await self._producer.add(key.encode(), value, partition, HEADERS)
        self.sent += 1
        self._unwatched += 1
        if self._unwatched >= MOST_AHEAD // 4:
            self._unwatched = 0
            await self._wait(MOST_AHEAD)

    async def _wait(self, most: int) -> None:
        """Wait until no more than `most` acknowledged commands have yet to be applied."""
        lag, moved_at = -1, time.monotonic()
        while (left := await self._lag()) > most:
            if left != lag:
                lag, moved_at = left, time.monotonic()
            elif time.monotonic() - moved_at > PATIENCE:
                raise Unreachable(
                    f"No worker has applied any of {left:,} commands for {PATIENCE:g} s: start "
                    "`execstream worker`, then this import again."
                )
            await asyncio.sleep(_LOOK_INTERVAL)

    async def _lag(self) -> int:
        applied: Mapping[int, int] = dict(await self._db.fetch(_OFFSETS, self._topic))
        ends, begins = self._producer.ends, self._producer.begins
        return sum(max(0, end - applied.get(p, begins[p])) for p, end in ends.items())

    # ---- key-values ------------------------------------------------------------------------

    async def _send_key_values(self, values: Sequence[SourceKeyValue]) -> None:
        known = await load_key_values(self._db, [(one.user_id, one.key) for one in values])
        for one in values:
            found = known.get((one.user_id, one.key))
            if found is not None and found[1] >= (one.updated or one.created):
                self.unchanged += 1
            elif not isinstance(record := self._key_value(one), LeftOut):
                await self._send(one.user_id, record)

    def _key_value(self, one: SourceKeyValue) -> bytes | LeftOut:
        at = one.updated or one.created
        command = SetKeyValue(
            id=command_id("kv", one.user_id, one.key, at),
            at=moment(at),
            user_id=one.user_id,
            name=one.key,
            data=any_json(one.data),
            node_exec_id=execution_id(one.step_id),
        )
        value = msgspec.json.encode(command)
        judged = decode(one.user_id.encode(), value, self._settings.max_command_bytes)
        if isinstance(judged, Dead):
            return LeftOut(_key_value_row(one), judged.reason, judged.detail)
        return value

    async def _compare_key_values(self, values: Sequence[SourceKeyValue], receipt: Receipt) -> None:
        known = await load_key_values(self._db, [(one.user_id, one.key) for one in values])
        for one in values:
            if isinstance(left_out := self._key_value(one), LeftOut):
                receipt.add_left_out(left_out)
                continue
            receipt.original.rows["key_values"] += 1
            found = known.get((one.user_id, one.key))
            receipt.imported.rows["key_values"] += found is not None
            data = one.data or "null"
            if found is None or (found[0] or "null") != data:
                is_now = None if found is None else found[0]
                receipt.add_differing(Difference(_key_value_row(one), "data", data, is_now))


def _key_value_row(one: SourceKeyValue) -> RowId:
    return RowId(Table.KEY_VALUES, f"{one.user_id}/{one.key}")


def _rows_of(run: SourceRun) -> int:
    return 1 + sum(1 + len(step.inputs) + len(step.outputs) for step in run.steps)


async def _read_ahead(portions: AsyncIterator[T]) -> AsyncIterator[T]:
    """Yield `portions`, each while the next one is being read."""

    async def following() -> T | None:
        return await anext(portions, None)

    coming = asyncio.create_task(following())
    try:
        while (portion := await coming) is not None:
            coming = asyncio.create_task(following())
            yield portion
    finally:
        coming.cancel()
