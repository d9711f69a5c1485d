"""One round: a contender drains a backlog, and the figures of that."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench.contenders.contender import Job
from bench.machine import Cpu, Machine
from execstream.cli.supervisor import Supervisor, child_of
from execstream.config.settings import Settings
from execstream.storage.connections import quoted
from execstream.workload.demo.observer import Observer, Outcomes

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.05  # seconds
PATIENCE = 240.0  # seconds that execstream may take
STALLED, SLOWEST = 40.0, 300  # seconds, and commands/s, that a contender may take

# The rows of these tables must be equal for all writers. Dead letters name their topic, which is
# another one in each round.
_ROWS = ("graph_execution", "node_execution", "journal", "kv_journal", "kv_data", "refusal")
_DIGEST = "select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text from {} t"
_DEAD_LETTERS = """
select count(*), coalesce(sum(hashtextextended(
    (partition, "offset", key, value, reason, detail)::text, 0)), 0)::text from {}.dead_letter
"""
_WAL = "select pg_current_wal_lsn() - '0/0'::pg_lsn"
_SIZE = """
select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
 where c.relnamespace = $1::regnamespace and c.relkind = 'r'
"""


class NotVerified(Exception):
    """The final state is not the expected one, so the figures do not count."""


class Figures(msgspec.Struct, kw_only=True):
    """Measurements of a round: `cpu` in µs a command by process, `memory` in MB by process, `wal`,
    `stored` and `kafka` in bytes a command, `finished` in seconds by consumer.
    """

    commands: int
    rate: float  # commands/s
    cpu: dict[str, float]
    memory: dict[str, int] = {}
    finished: dict[str, float] = {}
    wal: float = 0.0
    stored: float = 0.0
    kafka: float = 0.0
    rows: float = 0.0
    load: float = 0.0


class Stopwatch:
    """Measures from `begin` on."""

    def __init__(self, machine: Machine, db: asyncpg.Connection) -> None:
        self._machine, self._db = machine, db
        self._begun = 0.0
        self._wal = 0

    async def begin(self) -> None:
        """Count from now on."""
        self._wal = await self._db.fetchval(_WAL)
        self._machine.begin()
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    async def figures(self, commands: int, finished: Mapping[str, float]) -> Figures:
        """The figures of `commands` that were applied since."""
        seconds, spent = self.seconds, self._machine.spent()
        wal = await self._db.fetchval(_WAL) - self._wal
        return Figures(
            commands=commands,
            rate=commands / seconds,
            cpu=per_command(spent, commands),
            memory=self._machine.memory(),
            finished=dict(finished),
            wal=float(wal) / commands,
            load=os.getloadavg()[0],
        )


def per_command(spent: Cpu, commands: int) -> dict[str, float]:
    """Microseconds a command."""
    return {name: round(seconds / commands * 1e6, 2) for name, seconds in sorted(spent.items())}


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a look at the tables."""
    connection = await asyncpg.connect(settings.postgres)
    try:
        yield connection
    finally:
        await connection.close()


async def until(holds: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> None:
    """Return when `holds` gives a true answer; TimeoutError after `patience` seconds."""
    async with asyncio.timeout(patience):
        while not await holds():  # noqa: ASYNC110 - other processes make it true
            await asyncio.sleep(POLL)


# ---- execstream ----------------------------------------------------------------------------


async def drain(
    settings: Settings,
    ends: Mapping[int, int],
    roles: Sequence[str],
    logs: Path,
    machine: Machine | None = None,
) -> Figures:
    """Start the processes of `roles`, and measure from their first commit until all of them are at
    their ends. The backlog exists already.
    """
    machine, total, finished = machine or Machine(), sum(ends.values()), {}
    async with (
        connected(settings) as db,
        Observer(settings) as seen,
        Supervisor(settings, map(child_of, roles), logs, machine.announce),
    ):
        watch = Stopwatch(machine, db)

        async def has_begun() -> bool:
            return sum((await seen.judged()).outcomes) > 0

        await until(has_begun)
        await watch.begin()
        before = sum((await seen.judged()).outcomes)
        await until(lambda: seen.applied(ends))
        finished["apply"] = round(watch.seconds, 2)
        events = await seen.event_ends()
        if "bridge" in roles:
            await until(lambda: seen.bridged(events))
            finished["bridge"] = round(watch.seconds, 2)
        if "tally" in roles:
            await until(lambda: seen.tallied(events))
            finished["tally"] = round(watch.seconds, 2)
        figures = await watch.figures(total - before, finished)
    return await _with_sizes(settings, figures, total)


async def _with_sizes(settings: Settings, figures: Figures, total: int) -> Figures:
    async with connected(settings) as db:
        stored = await db.fetchval(_SIZE, settings.schema_)
        rows = sum([count for count, _ in (await digest(settings)).values()])
    return msgspec.structs.replace(figures, stored=stored / total, rows=rows / total)


async def outcomes(settings: Settings) -> Outcomes:
    """The number of commands with each outcome."""
    async with Observer(settings) as seen:
        return (await seen.judged()).outcomes


async def digest(settings: Settings) -> dict[str, tuple[int, str]]:
    """Rows, and the sum of their hashes, of each table that commands lead to."""
    schema = quoted(settings.schema_)
    async with connected(settings) as db:
        found = {name: await db.fetchrow(_DIGEST.format(f"{schema}.{name}")) for name in _ROWS}
        found["dead_letter"] = await db.fetchrow(_DEAD_LETTERS.format(schema))
    return {name: tuple(row) for name, row in found.items()}


async def check_events(settings: Settings, ends: Mapping[int, int]) -> None:
    """Raise NotVerified unless the events topic has one event for each entry, refusal and change of
    a key-value."""
    async with Observer(settings) as seen:
        due = await seen.events_due(dict.fromkeys(ends, 0))
        told = sum((await seen.event_ends()).values())
    if told != due:
        raise NotVerified(f"{told} events for {due} entries")


# ---- the others ----------------------------------------------------------------------------


async def drain_with(
    module: str, settings: Settings, job: Job, paths: Sequence[Path] = ()
) -> Figures:
    """Start a contender, and measure between the two lines that it prints."""
    machine = Machine()
    words = (sys.executable, "-m", f"bench.contenders.{module}", msgspec.json.encode(job).decode())
    environment = os.environ | settings.environment()
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), str(ROOT)])
    process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE)
    try:
        machine.announce({"worker": process.pid})
        async with connected(settings) as db, asyncio.timeout(STALLED + job.total / SLOWEST):
            watch = Stopwatch(machine, db)
            before = await _committed(process)
            await watch.begin()
            while (committed := await _committed(process)) < job.total:
                pass
            return await watch.figures(committed - before, {})
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _committed(process: asyncio.subprocess.Process) -> int:
    """The next line's number of commits; lines of libraries are passed over."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    while line := await process.stdout.readline():
        if line.startswith(b'{"committed"'):
            return int(json.loads(line)["committed"])
    raise NotVerified(f"The contender ended with exit code {await process.wait()}")
