"""A soak: `python -m tests.soak [--minutes N] [--rate N]`, 60 minutes at 2,000 commands/s.

`execstream up` runs everything with an open live feed, and a worker of role `apply` gets SIGKILL
each minute. In the end `verify --all` and `replay` decide whether everything is exact. Prints the
growth of each process's memory, dead tuples, and the size of the write-ahead log. Exit code 0 only
when all is exact, no memory grows by more than 0.2 % a minute, and dead tuples and log are in the
second half at most a quarter above those of the first.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import NamedTuple

import asyncpg
import httpx
import psutil

from execstream.config.tasks import end
from execstream.streams.topics import COMMANDS
from execstream.workload import EXAMPLE_GRAPHS
from execstream.workload.simulation import Mix, load_graphs, simulate
from tests.faults.feeding import Feeder
from tests.memory import Memory
from tests.whole.program import Program

RUNS = 10**9
SAMPLE = 5.0  # seconds between looks
BETWEEN_KILLS = 60.0  # seconds
BEFORE_A_KILL = 10.0  # seconds; only then is the memory of the role that is killed looked at
KILLED = "worker-apply"
MOST_GROWTH = 0.002  # of the mean, per minute
MOST_MORE = 1.25  # of the greatest value of the first half
AT_END = 600.0  # seconds for the last commands

_DEAD_TUPLES = "select sum(n_dead_tup)::bigint from pg_stat_user_tables"
_OFFSETS = """
select partition, next_offset from consumer_offset where consumer = 'apply' and topic = $1
"""


class Sizes(NamedTuple):
    """Rows that wait for a vacuum, and bytes of the write-ahead log."""

    dead_tuples: int
    log: int


def is_bounded(sizes: list[int]) -> bool:
    """Return whether the second half reaches no more than the first, a quarter aside."""
    half = len(sizes) // 2
    return max(sizes[half:]) <= max(sizes[:half]) * MOST_MORE


class Soak:
    """Kills, and looks at processes and at Postgres, while it runs."""

    def __init__(self, program: Program, db: asyncpg.Connection) -> None:
        self.memory = Memory()
        self.sizes: list[Sizes] = []
        self.kills = 0
        self._state = program.directory / ".execstream" / "stack.json"
        self._db = db

    async def rage(self, seconds: float) -> None:
        """Kill and look for so long."""
        until = time.monotonic() + seconds
        next_kill = time.monotonic() + BETWEEN_KILLS
        while (now := time.monotonic()) < until:
            pids: dict[str, int] = json.loads(self._state.read_text())["pids"]
            if now < next_kill - BEFORE_A_KILL:
                pids.pop(KILLED, None)  # it has only begun
            self.memory.look(pids)
            self.sizes.append(Sizes(await self._db.fetchval(_DEAD_TUPLES), self._log_size()))
            if now >= next_kill and KILLED in pids:
                psutil.Process(pids[KILLED]).send_signal(SIGKILL)
                self.kills += 1
                next_kill = now + BETWEEN_KILLS
            await asyncio.sleep(SAMPLE)

    def _log_size(self) -> int:
        files = (self._state.parent / "postgres" / "pg_wal").glob("0*")
        return sum(file.stat().st_size for file in files)

    def report(self) -> bool:
        """Print the figures; return whether they are bounded."""
        print(*self.memory.lines(), sep="\n")
        dead, log = ([*column] for column in zip(*self.sizes, strict=True))
        print(f"dead tuples: at most {max(dead):,}, {_judged(is_bounded(dead))}")
        mebibytes = max(log) / 2**20
        print(f"write-ahead log: at most {mebibytes:,.0f} MiB, {_judged(is_bounded(log))}")
        return (
            is_bounded(dead)
            and is_bounded(log)
            and max(self.memory.growth().values()) <= MOST_GROWTH
        )


def _judged(bounded: bool) -> str:
    return "bounded" if bounded else "GROWING"


async def soak(program: Program, minutes: float, rate: int) -> bool:
    """Run everything for so long; return whether all was as it must be."""
    async with program.running("up", "--json") as up:
        assert up.stdout is not None
        assert up.stderr is not None
        url = json.loads(await up.stdout.readline())["http"]
        around = [
            asyncio.create_task(up.stderr.read()),  # a full pipe would hold it up
            asyncio.create_task(listen(url)),
        ]
        stack = json.loads((program.directory / ".execstream" / "stack.json").read_text())
        db = await asyncpg.connect(stack["postgres_dsn"])
        commands = simulate(
            load_graphs(EXAMPLE_GRAPHS),
            runs=RUNS,
            seed=1,
            start=datetime.now(UTC),
            mix=Mix.field(),
        )
        feeder = Feeder(stack["kafka_bootstrap"], COMMANDS.name, commands, rate)
        running = Soak(program, db)
        feeder.begin()
        await running.rage(minutes * 60)
        await feeder.stop()
        print(f"{feeder.acknowledged:,} commands acknowledged, {running.kills} kills")
        is_good = running.report()
        await _drained(db, feeder.ends)
        listens = not around[1].done()
        print(f"the live feed: {'still open' if listens else 'CUT'}")
        await db.close()
        is_exact = await _is_exact(program)
        await end(*around)
        up.send_signal(SIGINT)
        await up.wait()
    return is_good and listens and is_exact


async def listen(url: str) -> None:
    """Read the live feed of everything, as a page does that stays open."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=None) as http,  # noqa: S113 - it has no end
        http.stream("GET", "/v1/stream") as stream,
    ):
        async for _ in stream.aiter_raw():
            pass


async def _drained(db: asyncpg.Connection, ends: dict[int, int]) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < AT_END:
        offsets = dict(map(tuple, await db.fetch(_OFFSETS, COMMANDS.name)))
        if all(offsets.get(partition, 0) >= last for partition, last in ends.items()):
            print(f"drained {time.monotonic() - begun:.1f} s after the last command")
            return
        await asyncio.sleep(1)
    print(f"NOT DRAINED within {AT_END:.0f} s")


async def _is_exact(program: Program) -> bool:
    """Have the program check all rows, events and positions against the topics, in two ways."""
    codes = []
    for arguments in (("verify", "--all", "--json"), ("replay", "--into", "rebuilt", "--json")):
        begun = time.monotonic()
        async with program.running(*arguments) as process:
            out, err = await process.communicate()
        seconds = time.monotonic() - begun
        last = out.decode().splitlines()[-1:]
        print(f"{' '.join(arguments)}: exit code {process.returncode} after {seconds:.0f} s")
        if process.returncode:
            print(*last, err.decode()[-1_000:], sep="\n")
        codes.append(process.returncode)
    return not any(codes)


async def main(minutes: float, rate: int) -> int:
    """Run it in a directory of its own, which is kept when something was wrong."""
    directory = Path(tempfile.mkdtemp(prefix="execstream-soak-"))
    if not await soak(Program(directory, {}), minutes, rate):
        print(f"NOT GOOD. Logs and data are in {directory}.")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2_000)
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.minutes, options.rate)))
