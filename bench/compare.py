"""Everything that drains the same commands, side by side: execstream, and the contenders.

    python -m bench.compare [--long] [--only NAME ...] [--seed 1] [--minutes 9.5] [--save]

Starts servers of its own. In each round every contender gets topics and tables of its own, a
backlog of simulated commands of the mix `field`, and is measured from its first commit to its last;
rounds are interleaved. Figures of a round count only when the final state was verified: the rows of
execstream and of B4J must be equal, and there must be an event for each entry; the rows of the
others must be those of a dictionary machine. Then the latency with everything running is measured,
open loop. Rounds beyond the first are left out when time runs out. With --long a backlog has at
least 300,000 commands, no time is kept, and `execstream verify --all` looks at the first round.

Progress goes to stderr; the figures are printed as JSON, and with --save are kept for the manual.
"""

import argparse
import asyncio
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench import quix_package, results
from bench.contenders import small_schema
from bench.contenders.contender import Job, write_records
from bench.contenders.small_machine import SmallMachine
from bench.latency import have_begun, measure
from bench.rounds import (
    Figures,
    NotVerified,
    check_events,
    connected,
    digest,
    drain,
    drain_with,
    outcomes,
)
from bench.stage import MIXES, fill, installation, servers, simulated
from execstream.cli.supervisor import ROLES, SERVER, Supervisor, child_of
from execstream.config.settings import AUTO, Settings
from execstream.storage.connections import quoted
from execstream.workload.simulation import Sent

CALLERS = (1, 4, 8, 16)  # of B0
RATES = (1_000, 2_000)  # commands/s of the latency
SECONDS = 15.0  # of them
RESERVE = 85.0  # seconds that the latency takes
LONG = 300_000  # commands at least, with --long


class Contender(msgspec.Struct):
    """One row of the table: `commands` take it about 10 seconds."""

    commands: int
    rounds: int
    module: str = ""
    roles: Sequence[str] = ()
    callers: int = 1


CONTENDERS = {
    "everything": Contender(200_000, 5, roles=(*ROLES, SERVER)),
    "apply": Contender(200_000, 5, roles=("apply",)),
    "B4J": Contender(200_000, 5, "b4j_bare_journal"),
    "B4": Contender(240_000, 2, "b4_bare_small"),
    "B2": Contender(240_000, 2, "b2_quix_streams"),
    "B1": Contender(8_000, 2, "b1_stock_faust"),
    **{
        f"B0/{callers}": Contender(6_000 if callers == 1 else 12_000, 2, "b0_one_call", (), callers)
        for callers in CALLERS
    },
}


class Comparison:
    """Runs the rounds, and keeps their figures."""

    def __init__(self, settings: Settings, folder: Path, records: Sequence[Sent]) -> None:
        self.rounds: dict[str, list[Figures]] = {}
        self.failed: dict[str, str] = {}
        self._settings = settings
        self._folder = folder
        self._records = records
        self._digests: dict[int, Mapping[str, tuple[int, str]]] = {}
        self._finals: dict[int, small_schema.Final] = {}
        self._number = 0

    async def measure(self, name: str, contender: Contender, *, verify: bool = False) -> None:
        """One round; when it fails, the reason is kept."""
        self._number += 1
        try:
            async with installation(self._settings, f"round{self._number}") as settings:
                figures = await self._drain(contender, settings, verify=verify)
        except Exception as error:  # noqa: BLE001 - the others are still measured
            traceback.print_exc()
            self.failed[name] = f"{type(error).__name__}: {error}"
            return
        self.rounds.setdefault(name, []).append(figures)
        spent = sum(figures.cpu.values())
        tell(f"{name}: {figures.rate:,.0f} commands/s, {spent:.0f} µs of CPU, verified")

    async def _drain(self, contender: Contender, settings: Settings, *, verify: bool) -> Figures:
        records = self._records[: contender.commands]
        if contender.roles:
            ends = await fill(settings, records)
            if SERVER in contender.roles:  # as `execstream up` does
                settings = settings.model_copy(update={"apply_processes": AUTO})
            figures = await drain(settings, ends, contender.roles, self._folder / "logs")
            figures.kafka = self._kafka_bytes(settings) / len(records)
            await self._check_rows(settings, ends)
            if verify:
                await _verify(settings)
            return figures
        job = Job(total=len(records), callers=contender.callers)
        if contender.module == "b4j_bare_journal":
            job.ends = await fill(settings, records)
            figures = await drain_with(contender.module, settings, job)
            await self._check_rows(settings, job.ends)
            return figures
        return await self._drain_small(contender.module, settings, job, records)

    async def _drain_small(
        self, module: str, settings: Settings, job: Job, records: Sequence[Sent]
    ) -> Figures:
        async with connected(settings) as db:
            await db.execute(f"set search_path to {quoted(settings.schema_)}")
            await db.execute(small_schema.TABLES)
            if module == "b0_one_call":
                job.records = str(self._folder / "records")
                write_records(Path(job.records), records)
            else:
                job.ends = await fill(settings, records)
            figures = await drain_with(module, settings, job, [quix_package.FOLDER])
            await self._check_small(db, records)
            return figures

    async def _check_rows(self, settings: Settings, ends: Mapping[int, int]) -> None:
        """Raise NotVerified unless the rows are those of the others that applied as many."""
        total = sum(ends.values())
        counts = await outcomes(settings)
        if sum(counts) != total or counts.quarantined:
            raise NotVerified(f"{counts} for {total} commands")
        await check_events(settings, ends)
        found = await digest(settings)
        expected = self._digests.setdefault(total, found)
        if unlike := [name for name, rows in found.items() if rows != expected[name]]:
            raise NotVerified(f"other rows than another contender's in {', '.join(unlike)}")

    async def _check_small(self, db: asyncpg.Connection, records: Sequence[Sent]) -> None:
        final = self._finals.get(len(records))
        if final is None:
            machine = SmallMachine()
            for _, value in records:
                machine.apply(value)
            final = self._finals[len(records)] = machine.final()
        if difference := await small_schema.find_difference(db, final):
            raise NotVerified(difference)

    def _kafka_bytes(self, settings: Settings) -> int:
        """The size of an installation's topics on the broker's disk."""
        logs = self._folder.rglob(f"{settings.topic_prefix}*/*.log")
        return sum(file.stat().st_size for file in logs)


async def _verify(settings: Settings) -> None:
    words = (sys.executable, "-m", "execstream", "verify", "--all")
    process = await asyncio.create_subprocess_exec(
        *words, env=os.environ | settings.environment(), stdout=sys.stderr
    )
    if await process.wait() != 0:
        raise NotVerified("`execstream verify --all` found differences")


def tell(text: str) -> None:
    """Print progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def chosen(options: argparse.Namespace) -> dict[str, Contender]:
    """The contenders that are wanted, with their backlogs."""
    found = {
        name: contender
        for name, contender in CONTENDERS.items()
        if not options.only or name in options.only or name.partition("/")[0] in options.only
    }
    for contender in found.values():
        if options.long:
            is_slow = contender.module in ("b0_one_call", "b1_stock_faust")
            contender.commands = 30_000 if is_slow else max(LONG, contender.commands)
        if options.commands:
            contender.commands = min(options.commands, contender.commands)
        if options.rounds:
            contender.rounds = min(options.rounds, contender.rounds)
    return found


async def latencies(settings: Settings, folder: Path, rates: Sequence[int]) -> list[Any]:
    """Milliseconds from the intended time of a command to its row, with everything running."""
    found = []
    async with (
        installation(settings, "latency") as place,
        Supervisor(place, map(child_of, (*ROLES, SERVER)), folder / "logs"),
    ):
        await have_begun(place, ROLES)
        for rate in rates:
            figures = await measure(place, rate, SECONDS, mix=MIXES["field"], with_redis=True)
            found.append(figures | {"load": os.getloadavg()[0]})
            tell(f"latency at {rate}/s: p50 {figures['p50']:.1f}, p99 {figures['p99']:.1f} ms")
    return found


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds; the figures."""
    begun = time.monotonic()
    contenders, circumstances = chosen(options), results.circumstances()
    failed: dict[str, str] = {}
    if "B2" in contenders and (reason := quix_package.fetch()):
        tell(f"B2 is left out: {reason}.")
        failed["B2"] = reason
        del contenders["B2"]
    tell(f"seed {options.seed}, {circumstances}")
    most = max((one.commands for one in contenders.values()), default=0)
    records = simulated(most, "field", options.seed)
    left = float("inf") if options.long else options.minutes * 60 - RESERVE
    async with servers() as (settings, folder):
        comparison = Comparison(settings, folder, records)
        longest: dict[str, float] = {}
        for number in range(max((one.rounds for one in contenders.values()), default=0)):
            for name, contender in contenders.items():
                now = time.monotonic()
                if number >= contender.rounds or name in comparison.failed:
                    continue
                if number and now - begun + longest[name] > left:
                    tell(f"{name}: round {number + 1} is left out, time runs out")
                    continue
                verify = options.long and number == 0 and name == "everything"
                await comparison.measure(name, contender, verify=verify)
                longest[name] = max(longest.get(name, 0), time.monotonic() - now)
        found: list[Any] = []
        if not options.only:
            try:
                found = await latencies(settings, folder, RATES)
            except Exception as error:  # noqa: BLE001 - the rounds still count
                traceback.print_exc()
                failed["latency"] = f"{type(error).__name__}: {error}"
    return {
        "seed": options.seed,
        "begun": circumstances,
        "seconds": round(time.monotonic() - begun),
        "rounds": comparison.rounds,
        "failed": failed | comparison.failed,
        "latency": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="at least 300,000 commands each")
    parser.add_argument("--only", nargs="*", help="contenders, such as B4J")
    parser.add_argument("--commands", type=int, help="at most, for a short trial")
    parser.add_argument("--rounds", type=int, help="at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--save", action="store_true", help="keep the figures for the manual")
    options = parser.parse_args()
    figures = asyncio.run(run(options))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    if options.save:
        results.save("compare", figures)
    if figures["failed"].keys() - {"B2"} or not figures["rounds"]:
        sys.exit(f"Without figures that count: {figures['failed']}")


if __name__ == "__main__":
    main()
