"""`execstream up` of either release: starts and stops it, sends commands, waits for the workers."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from execstream.devstack import Addresses
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.workload.simulation import Sent
from tests.faults.listening import Listener
from tests.faults.patience import reached
from tests.faults.progress import Offsets, ends_of, from_postgres, from_redis
from tests.whole.program import PATIENCE, Program
from tests.worker import HOME, Installation, opened, settings_at, until

GRAPHS = HOME / "examples" / "graphs"


@dataclass(frozen=True)
class RunningStack:
    """A process of `execstream up`, and where its servers answer."""

    addresses: Addresses
    process: asyncio.subprocess.Process

    async def ready(self) -> None:
        """Return when schema and topics exist and the workers, if it has any, were started."""
        assert self.process.stdout
        printed = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert json.loads(printed)["kafka"] == self.addresses.kafka_bootstrap


@asynccontextmanager
async def up(program: Program, *options: str) -> AsyncIterator[RunningStack]:
    """Run `execstream up`, from when its servers answer until SIGTERM; the data stays."""
    description = program.directory / ".execstream" / "stack.json"
    async with program.running("up", "--json", *options) as process:
        try:
            addresses = await until(lambda: _read_addresses(description, process))
            yield RunningStack(addresses, process)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
            print(err.decode())  # pytest shows it when the test fails
        assert process.returncode == 0
        assert b"worker.ended" not in err
        assert b"server.ended" not in err


async def _read_addresses(
    description: Path, process: asyncio.subprocess.Process
) -> Addresses | None:
    assert process.returncode is None
    return Addresses.read(description) if description.exists() else None


@asynccontextmanager
async def connected(
    stack: RunningStack, folder: Path
) -> AsyncIterator[tuple[Installation, Listener]]:
    """Subscribe to all channels, then connect to the data under the default names."""
    servers = stack.addresses
    settings = settings_at(servers)
    listener = Listener(settings.redis, settings.redis_prefix)
    await listener.begin()
    try:
        async with opened(settings, folder) as place:
            yield place, listener
    finally:
        await listener.stop()


async def emit(program: Program, records: Iterable[Sent]) -> int:
    """Send records; return how many Kafka acknowledged."""
    lines = b"".join(record.value + b"\n" for record in records)
    return await _send(program, "emit", "--raw", stdin=lines)


async def simulate(program: Program, *, runs: int, seed: int) -> int:
    """Send simulated runs of two small graphs, which take about 25 commands each, and the
    catalogue; return how many commands Kafka acknowledged."""
    graphs = program.directory / "graphs"
    graphs.mkdir(exist_ok=True)
    for name in ("calculator-agent.json", "flux-ai-image-generator.json"):
        shutil.copy(GRAPHS / name, graphs)
    return await _send(
        program, "simulate", f"--graphs={graphs}", f"--runs={runs}", f"--seed={seed}"
    )


async def _send(program: Program, *arguments: str, stdin: bytes = b"") -> int:
    result = await program(*arguments, stdin=stdin)
    assert result.code == 0, result.err
    receipt: dict[str, int] = result.json()
    assert receipt["sent"] == receipt["acknowledged"] > 0
    return receipt["acknowledged"]


async def wait_for_apply(place: Installation) -> None:
    """Return when all commands are applied and all events published."""
    await reached("apply", from_postgres(place), await until(ends_of(place, COMMANDS.name)))
    await place.events()


async def wait_for_all(place: Installation) -> None:
    """Return when, besides, the bridge and the tally have processed all events."""
    await wait_for_apply(place)
    events = await until(ends_of(place, EVENTS.name))
    await reached("bridge", from_redis(place), events)
    await reached("tally", lambda: _tally_offsets(place), events)


async def wait_for_messages(listener: Listener, count: int) -> None:
    """Return when the subscriber has received so many messages."""

    async def has_received() -> bool:
        return sum(map(len, listener.heard.values())) >= count

    await until(has_received)


async def _tally_offsets(place: Installation) -> Offsets:
    rows = await place.db.fetch(
        "select partition, next_offset from consumer_offset where consumer = 'tally'"
    )
    return {row["partition"]: row["next_offset"] for row in rows}
