"""CPU of applying a command, of this checkout compared with an older commit.

    python -m bench.apply_cpu [--old 77b0d4a] [--pairs 8] [--commands 20000] [--mix field] [--json]

Needs no Kafka: starts a Postgres of its own and hands the same simulated commands to both sides. In
each pair a side is a new process (`bench/apply_side.py`) with a fresh schema; it decodes, folds and
commits batches of 2,000, without publishing. Old and new apply a batch in turn; the one that goes
first changes from pair to pair, and the first batches of each, while all is cold, are left out.

`client` is the CPU of that process, the sum of its phases, and `backend` is that of Postgres for
its connection. While both sides have the same SQL, the backend's ratio shows the noise, so the
client's ratio is printed as measured and, normalised, divided by the backend's of the same pair.
`typical batch` is the median of the ratios of the batches of a pair, which bursts of other load
move least. Each ratio is the median over the pairs, with an interval from order statistics. The
figures count only because both sides leave equally many rows in the journal. Load average is
printed beside them.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import asyncpg
import msgspec

from bench.apply_figures import Batches, Pair, print_pair, print_report, report
from bench.stage import GRAPHS, MIXES
from execstream.devstack import postgres
from execstream.devstack.password import ensure_password
from execstream.devstack.ports import free_ports
from execstream.streams.partitions import partition_of
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import Mix, load_graphs, simulate

ROOT = Path(__file__).resolve().parent.parent
SIDE = Path(__file__).with_name("apply_side.py")
BATCH = 2_000  # records
WARM_UP = 2  # batches that do not count


@dataclass(frozen=True)
class Side:
    """One version of the code: `source` is the folder that all of its modules must come from."""

    commit: str
    source: Path
    schema: str

    @property
    def path(self) -> str:
        """PYTHONPATH: modules were at the top before there was the folder src."""
        return os.pathsep.join([str(self.source / "src"), str(self.source)])


# ---- the two sides -------------------------------------------------------------------------


def unpack(commit: str, folder: Path) -> Side:
    """The old side: the files of `commit`, in `folder`."""
    named = _git("rev-parse", "--short", "--verify", commit + "^{commit}").decode().strip()
    with tarfile.open(fileobj=BytesIO(_git("archive", named))) as files:
        files.extractall(folder, filter="data")
    return Side(named, folder, "apply_cpu_old")


def checked_out() -> Side:
    """The new side: this checkout, with uncommitted changes."""
    return Side(_git("describe", "--always", "--dirty").decode().strip(), ROOT, "apply_cpu_new")


def _git(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)  # noqa: S603, S607 - our own words, no shell
    if done.returncode != 0:
        sys.exit(f"git {words[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout


def write_records(file: Path, count: int, mix: Mix) -> int:
    """Write `count` simulated records as (partition, offset, timestamp, key, value), in batches;
    the number of batches."""
    start = datetime.now(UTC)
    timestamp = int(start.timestamp() * 1000)
    offsets: Counter[int] = Counter()
    records = []
    simulation = simulate(load_graphs(GRAPHS), runs=count, seed=1, start=start, mix=mix)
    for key, value in itertools.islice(simulation, count):
        partition = partition_of(key, COMMANDS.partitions)
        records.append((partition, offsets[partition], timestamp, key, value))
        offsets[partition] += 1
    batches = [records[at : at + BATCH] for at in range(0, count, BATCH)]
    file.write_bytes(msgspec.msgpack.encode(batches))
    return len(batches)


# ---- measuring -----------------------------------------------------------------------------


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[str]:
    """A Postgres as in the local stack; its DSN."""
    logs = folder / "logs"
    logs.mkdir()
    [port] = free_ports(1)
    password = ensure_password(folder)
    server = await postgres.prepare(
        folder, logs, port, password, lambda text: print(text, file=sys.stderr)
    )
    server.spawn()
    try:
        await server.wait_ready()
        yield postgres.dsn(port, password)
    finally:
        await server.stop()


class Comparison:
    """Has both sides apply the records of a file."""

    def __init__(self, dsn: str, records: Path, batches: int, sides: tuple[Side, Side]) -> None:
        self._dsn = dsn
        self._records = records
        self._batches = batches  # in it
        self._sides = sides

    async def pair(self, number: int) -> Pair:
        """Measure both; the one that goes first changes with `number`."""
        sides = self._sides if number % 2 else self._sides[::-1]
        async with AsyncExitStack() as ending:
            running = [await ending.enter_async_context(self._start(side)) for side in sides]
            measured = await _in_turn(running, self._batches)
        journals = [await self._drop(side) for side in sides]
        if journals[0] != journals[1] or not journals[0]:
            sys.exit(f"The figures do not count: the journals have {journals} rows.")
        old, new = (measured[sides.index(side)][WARM_UP:] for side in self._sides)
        return Pair(old, new, os.getloadavg()[0])

    @asynccontextmanager
    async def _start(self, side: Side) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(SIDE), "--source", str(side.source)),
            *("--records", str(self._records), "--topic", COMMANDS.name),
            *("--dsn", self._dsn, "--schema", side.schema),
            env=os.environ | {"PYTHONPATH": side.path},
            stdin=PIPE,
            stdout=PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _drop(self, side: Side) -> int:
        """Drop the schema of a side; the rows that its journal had."""
        connection = await asyncpg.connect(self._dsn)
        try:
            rows = await connection.fetchval(f"select count(*) from {side.schema}.journal")  # noqa: S608 - our own name
            await connection.execute(f"drop schema {side.schema} cascade")
            return int(rows)
        finally:
            await connection.close()


async def _in_turn(running: Sequence[Process], count: int) -> list[Batches]:
    """Have the processes apply a batch each, one after the other, `count` times: load that comes
    and goes meets both."""
    for process in running:
        await _answer(process)  # it is ready
    batches: list[Batches] = [[] for _ in running]
    for _ in range(count):
        for process, figures in zip(running, batches, strict=True):
            assert process.stdin is not None  # noqa: S101 - for the type checker
            process.stdin.write(b"\n")
            figures.append(await _answer(process))
    for process in running:
        await process.wait()
    return batches


async def _answer(process: Process) -> dict[str, float]:
    assert process.stdout is not None  # noqa: S101 - for the type checker
    line = await process.stdout.readline()
    if not line:
        sys.exit("The figures do not count: one side has ended early.")
    figures: dict[str, float] = json.loads(line)
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", default="77b0d4a", help="commit to compare with")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--commands", type=int, default=20_000, help="that count, per side")
    parser.add_argument("--mix", choices=MIXES, default="documented")
    parser.add_argument("--json", action="store_true", help="print one document at the end")
    options = parser.parse_args()
    pairs = []
    with tempfile.TemporaryDirectory() as state:
        folder = Path(state)
        old, new = unpack(options.old, folder / "old"), checked_out()
        records = folder / "records"
        count = write_records(records, WARM_UP * BATCH + options.commands, MIXES[options.mix])
        async with database(folder) as dsn:
            comparison = Comparison(dsn, records, count, (old, new))
            for number in range(1, options.pairs + 1):
                pairs.append(await comparison.pair(number))
                if not options.json:
                    print_pair(number, pairs[-1])
    about = {"old_commit": old.commit, "new_commit": new.commit, "pairs": options.pairs}
    found = about | {"commands": options.commands} | report(pairs, options.commands)
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        print_report(found)


if __name__ == "__main__":
    asyncio.run(main())
