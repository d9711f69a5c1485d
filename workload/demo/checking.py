"""Comparison of the rows in Postgres with an independent fold of the topic.

Partition by partition, in processes of their own: the fold is not fast. Each reads its part of the
topic twice, first for the last command of each run, so that a run is compared and forgotten as soon
as it is complete: memory holds only unfinished runs. Others may send commands meanwhile, for runs
of the demo too.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import active_children, get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from execstream.config.process_lifetime import begin_in_pool
from execstream.config.settings import Settings
from execstream.kafka import header_decoding
from execstream.kafka.reader import consumer, records
from execstream.kafka.security import configure_security
from execstream.recovery.verify.row_comparison import compare
from execstream.storage.connections import snapshot
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from execstream.workload.reference import Reference
from execstream.workload.reference.table_rows import run_rows
from execstream.workload.simulation import Sent, read_lines

RUNS_AT_ONCE = 50
MOST_LISTED = 20  # differences per partition
POLL = 0.2  # seconds between looks at the progress of the processes

_PLACE = """
select next_offset, base from consumer_offset
 where consumer = 'apply' and topic = $1 and partition = $2
"""


class PartitionSlice(NamedTuple):
    """Records of one partition while the demo ran, its own lines of `file` among them."""

    file: Path
    sent: int  # lines of the file that were sent, to all partitions
    partition: int
    partitions: int
    begin: int  # offsets that the workers passed meanwhile
    end: int


class Verdict(NamedTuple):
    """Top-level runs of the demo in a share, its commands from other producers, differences of
    rows, and the number of commands that were not compared. `others` is None when the check was cut
    short before it was known.
    """

    runs: int
    others: int | None
    differences: list[str]
    unchecked: int


async def check(
    settings: Settings,
    shares: Sequence[PartitionSlice],
    on_progress: Callable[[int, int], None],
    gives_up: Callable[[], bool],
) -> list[Verdict]:
    """A verdict for each share; `on_progress` is called with the numbers of folded and of all
    commands.

    Once `gives_up` returns true, the verdicts cover the commands compared until then.
    """
    context = get_context("spawn")
    folded: Synchronized[int] = context.Value("q", 0)
    is_given_up: Synchronized[int] = context.Value("b", 0)
    total = sum(share.end - share.begin for share in shares)
    loop = asyncio.get_running_loop()

    def look() -> None:
        on_progress(folded.value, total)
        is_given_up.value = gives_up()

    begin = (folded, is_given_up, os.getpid())
    with ProcessPoolExecutor(os.cpu_count(), context, _begin, begin) as pool:
        checks = [loop.run_in_executor(pool, check_slice, share, settings) for share in shares]
        try:
            await _all_done(checks, look)
        except BaseException:
            for process in active_children():
                process.kill()
            await asyncio.gather(*checks, return_exceptions=True)
            raise
        return [check.result() for check in checks]


async def _all_done(checks: Iterable[asyncio.Future[Verdict]], look: Callable[[], None]) -> None:
    """Return when all are done, or raise the error of one of them."""
    running = set(checks)
    while running:
        done, running = await asyncio.wait(
            running, timeout=POLL, return_when=asyncio.FIRST_EXCEPTION
        )
        look()
        for check in done:
            check.result()


def _begin(folded: "Synchronized[int]", is_given_up: "Synchronized[int]", parent: int) -> None:
    """Count in `folded`, and end early once `is_given_up`."""
    global _folded, _is_given_up
    _folded, _is_given_up = folded, is_given_up
    begin_in_pool(parent)


_folded: "Synchronized[int]"
_is_given_up: "Synchronized[int]"


def check_slice(share: PartitionSlice, settings: Settings) -> Verdict:
    """Fold a share and compare; runs in a process of its own."""
    configure_security(settings.kafka_security)
    header_decoding.install()  # others may send anything
    return asyncio.run(_check(share, settings))


async def _check(share: PartitionSlice, settings: Settings) -> Verdict:
    topic = settings.topic_prefix + COMMANDS.name
    # Workers keep running: the rows of one snapshot are the fold up to the offset in it.
    async with (
        snapshot(settings.postgres, settings.schema_) as connection,
        consumer(settings.kafka) as reader,
    ):
        place = await connection.fetchrow(_PLACE, topic, share.partition)
        end, base = place or (share.begin, 0)
        found = _Reading(reader, topic, share, end)
        last, others = await found.last_of_runs()
        verdict = Verdict(0, None if _is_given_up.value else others, [], 0)
        async for complete in found.folded(last, base, settings.max_command_bytes):
            verdict = await _add(verdict, complete, connection)
        return verdict._replace(unchecked=share.end - share.begin - found.folded_count)


async def _add(
    verdict: Verdict, complete: Sequence[Reference], connection: asyncpg.Connection
) -> Verdict:
    runs = {run_id: run for fold in complete for run_id, run in fold.runs.items()}
    tops = sum(run["parent_graph_exec_id"] is None for run in runs.values())
    differences = verdict.differences
    if len(differences) < MOST_LISTED:
        differences += [line async for line in _differences(complete, connection)]
    return verdict._replace(runs=verdict.runs + tops, differences=differences[:MOST_LISTED])


class _Reading:
    """Reads a share from the topic, up to offset `end`."""

    def __init__(
        self, reader: AIOKafkaConsumer, topic: str, share: PartitionSlice, end: int
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._share = share
        self._end = end
        self.folded_count = 0

    async def last_of_runs(self) -> tuple[dict[bytes, int], int]:
        """Offsets of the last command of each key of the demo; and the number of commands of the
        share from other producers.

        Its own are the lines of its file, in order. One that is missing makes all after it those
        of others, and so the demo's lost.
        """
        lines = _lines(self._share)
        awaited = next(lines, None)
        last: dict[bytes, int] = {}
        others = 0
        async for record in self._records():
            if awaited is not None and (record.key, record.value) == awaited:
                last[record.key] = record.offset
                awaited = next(lines, None)
            else:
                others += record.offset < self._share.end
                if record.key in last:
                    last[record.key] = record.offset
        return last, others

    async def folded(
        self, last: Mapping[bytes, int], base: int, max_command_bytes: int
    ) -> AsyncIterator[list[Reference]]:
        """Folds of one key each, some at a time; a fold needs only the records of its key."""
        folds: dict[bytes, Reference] = {}
        complete: list[Reference] = []
        async for record in self._records():
            if record.key in last and record.offset <= last[record.key]:
                if record.key not in folds:
                    folds[record.key] = Reference(max_command_bytes)
                offset = record.offset + base
                folds[record.key].feed(record.partition, offset, record.key, record.value)
                if record.offset == last[record.key]:
                    complete.append(folds.pop(record.key))
            if len(complete) == RUNS_AT_ONCE:
                yield complete
                complete = []
            if record.offset < self._share.end:
                self.folded_count += 1
                with _folded.get_lock():
                    _folded.value += 1
        yield complete

    async def _records(self) -> AsyncIterator[ConsumerRecord]:
        share = self._share
        async for some in records(
            self._reader, self._topic, share.partition, share.begin, self._end
        ):
            if _is_given_up.value:
                return
            for record in some:
                yield record


def _lines(share: PartitionSlice) -> Iterator[Sent]:
    """The commands that the demo sent to the partition of a share."""
    for line in islice(read_lines(share.file), share.sent):
        if partition_of(line.key, share.partitions) == share.partition:
            yield line


async def _differences(
    folds: Sequence[Reference], connection: asyncpg.Connection
) -> AsyncIterator[str]:
    run_ids = [run_id for fold in folds for run_id in fold.runs]
    for table, rows in run_rows(folds).items():
        where = f"{table.key[0]} = any($2::uuid[])"
        for differing in await compare(connection, table, rows, where, run_ids):
            for line in differing.lines():
                yield line
