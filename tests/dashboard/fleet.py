"""Workers of every role that faults kill, the work they do meanwhile, and the faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from redis.asyncio import Redis

from execstream import ExecutionClient
from execstream.config.settings import Settings
from execstream.devstack import Stack
from execstream.devstack.ports import free_ports
from execstream.storage.connections import connect
from tests.dashboard.counted_rows import CALLER, Witness
from tests.dashboard.registered_figures import Check, metric
from tests.dashboard.serving import site
from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import QUICK, Installation, Worker, installation, until

PATIENCE = 90.0  # seconds
PORTS = {"apply": "apply_port", "tally": "tally_port", "bridge": "bridge_port"}


class Figures(NamedTuple):
    """Ways of comparing figures with rows. `frozen`: names among those of the tally that stay as
    they are while no tally runs, and are no window up to now.
    """

    of_rows: Mapping[str, Check]
    of_the_tally: Mapping[str, Check]
    frozen: tuple[str, ...]

    def all(self) -> dict[str, Check]:
        return {**self.of_the_tally, **self.of_rows}


class Fleet:
    """A worker of each role, which a fault may kill, and the figures published about them."""

    def __init__(self, place: Installation, stack: Stack, it: Witness, ports: list[int]) -> None:
        self.place = place
        self.stack = stack
        self.it = it
        self.foreign_port = ports[-1]
        self._ports = dict(zip(PORTS, ports, strict=False))
        self._workers: dict[str, Worker] = {}

    def url(self, role: str) -> str:
        return f"http://127.0.0.1:{self._ports[role]}"

    async def start(self, role: str) -> None:
        port: dict[str, Any] = {PORTS[role]: self._ports[role]}
        worker = await self.place.start_worker(role, timing=QUICK, **port)
        self._workers[role] = worker

        async def owns() -> bool:
            assert worker.is_alive, worker.log()[-5:]
            return bool(worker.said("owns"))

        await until(owns)

    async def kill(self, role: str) -> None:
        await self._workers[role].kill()

    async def stop(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))

    async def settled(self) -> None:
        """Return when apply has applied everything that was sent."""
        await self.place.drained()

    async def agree(self, checks: Mapping[str, Check]) -> None:
        """Return when each of the figures, one after the other, equals the count of the rows."""
        end = time.monotonic() + PATIENCE
        wrong = []
        for name, check in checks.items():
            try:
                await until(partial(self._is_so, check), max(end - time.monotonic(), 1))
            except TimeoutError:
                wrong.append(f"{name}: {await check.compare(self.it)}")
        assert not wrong, "\n".join(wrong)

    async def _is_so(self, check: Check) -> bool:
        try:
            told, rows = await check.compare(self.it)
        except (LookupError, ValueError, httpx.HTTPStatusError):
            return False  # the figures counted first are not there yet
        return bool(told == rows)


@asynccontextmanager
async def running_fleet(stack: Stack, folder: Path) -> AsyncIterator[Fleet]:
    """A fleet with an HTTP server, and the work of the hour before the last one."""
    ports = free_ports(4)
    async with installation(stack, folder) as place:
        urls = ",".join(f"http://127.0.0.1:{port}" for port in (ports[1], ports[3]))
        settings = place.settings_with(tally_urls=urls)
        with _environment(settings):
            sender = ExecutionClient()
        reads = await connect(settings.postgres, settings.schema_)
        async with reads, sender, site(settings, sender) as http:
            program = Program(folder, settings.environment())
            own = Fleet(place, stack, Witness(place, reads, http, program), ports)
            for role in PORTS:
                await own.start(role)
            await place.put(_earlier_work())
            yield own
            await own.stop()


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.environment().items():
            environment.setenv(name, value)
        yield


# ---- work --------------------------------------------------------------------------------------


def _work(ahead: timedelta = timedelta()) -> Iterable[Order]:
    """Runs with steps that end in every way, one after the other; commands that are refused, dead
    and sent twice. `ahead`: by how much the clock of the sender is.
    """
    now = datetime.now(UTC) - timedelta(seconds=3)
    begun, ended = ({"at": (now + timedelta(seconds=n)).isoformat()} for n in (0, 2))
    if ahead:
        ended = {"at": (now + ahead).isoformat()}
    ways = {
        "good": ("COMPLETED", {"cost": 7, "input_token_count": 11}),
        "quota": ("FAILED", {"error": "429 Too Many Requests"}),
        "caller": ("FAILED", {"error": CALLER}),
        "child": ("FAILED", {"error": "its run failed", "child_graph_exec_id": Orders().run_id}),
    }
    for end in ("COMPLETED", "TERMINATED", "FAILED"):
        run = Orders()
        names = [*ways, "left"]
        nodes = [run.node(name, block_id=f"block-{name}") for name in names]
        yield run.create(*nodes, **begun)
        yield run.start(**begun)
        yield run.move_steps(names, "RUNNING", **begun)
        for name, (status, stats) in ways.items():
            yield run.move_step(name, status, stats=stats, **ended)
        yield (last := run.move(end, **ended))
        yield last
        yield run.move("RUNNING", **begun)
    yield Orders().create(**begun)
    yield Orders().start(**begun)
    yield run.raw(b"[")


def _earlier_work() -> Iterable[Order]:
    """Runs that ended 90 minutes ago, with a block that did not fail then."""
    ended = {"at": (datetime.now(UTC) - timedelta(minutes=90)).isoformat()}
    begun = {"at": (datetime.now(UTC) - timedelta(minutes=90, seconds=2)).isoformat()}
    for _ in range(5):
        run = Orders()
        yield run.create(run.node("quota", block_id="block-quota"), **begun)
        yield run.start(**begun)
        yield run.move_step("quota", "RUNNING", **begun)
        yield run.move_step("quota", "COMPLETED", **ended)
        yield run.move("COMPLETED", **ended)


async def _send(fleet: Fleet, **options: Any) -> None:
    for _ in range(5):
        await fleet.place.put(_work(**options))


# ---- faults ------------------------------------------------------------------------------------


@asynccontextmanager
async def _apply_is_killed(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    """Sent commands wait, and count as lag."""
    await fleet.kill("apply")
    await _send(fleet)
    yield
    await fleet.start("apply")


@asynccontextmanager
async def _bridge_is_killed(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    await fleet.kill("bridge")
    await _send(fleet)
    await fleet.settled()
    yield
    await fleet.start("bridge")


@asynccontextmanager
async def _redis_is_full(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    async with Redis.from_url(fleet.stack.redis_url) as redis:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "1")
        try:
            await _send(fleet)
            await fleet.settled()
            yield
        finally:
            await redis.config_set("maxmemory", "0")


@asynccontextmanager
async def _another_installation_answers(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    """At one of the addresses where ours would be."""
    async with installation(fleet.stack, fleet.place.folder) as other:
        port = fleet.foreign_port
        async with other.worker("apply"):
            worker = await other.start_worker("tally", tally_port=port)
            try:
                await other.put(_work())
                await other.drained()

                async def has_counted() -> bool:
                    return bool(await other.db.fetchval("select sum(failed) from block_minute"))

                await until(has_counted)
                await _send(fleet)
                await fleet.settled()
                foreign = (await fleet.it.get("/v1/live/blocks"))["foreign"]
                assert foreign == [f"http://127.0.0.1:{port}"]
                yield
            finally:
                await worker.stop()


@asynccontextmanager
async def _clocks_are_ahead(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    """Clocks of producers are ahead by two hours."""
    await _send(fleet, ahead=timedelta(hours=2))
    await fleet.settled()
    yield


@asynccontextmanager
async def _tally_is_killed(fleet: Fleet, figures: Figures) -> AsyncIterator[None]:
    """Its figures stay where they were."""
    frozen = {name: figures.of_the_tally[name] for name in figures.frozen}
    before = {name: (await check.compare(fleet.it))[0] for name, check in frozen.items()}
    await fleet.kill("tally")
    await _send(fleet)
    await fleet.settled()
    await fleet.agree(figures.of_rows)
    for name, check in frozen.items():
        assert (await check.compare(fleet.it))[0] == before[name]
    await fleet.start("tally")
    yield


Fault = Callable[[Fleet, Figures], AbstractAsyncContextManager[None]]
FAULTS: list[Fault] = [
    _apply_is_killed,
    _bridge_is_killed,
    _redis_is_full,
    _another_installation_answers,
    _tally_is_killed,
    _clocks_are_ahead,
]
SHORT = _tally_is_killed  # the one that `make test` has


async def hold_under(fault: Fault, fleet: Fleet, figures: Figures) -> None:
    """Compare before, while and after something fails.

    What is read last before a fault is the first to be read in it, and the same at its end: a view
    stays open and has to follow. It is another one for each fault.
    """
    names, first = [*figures.all()], 2 * FAULTS.index(fault)
    checks = {name: figures.all()[name] for name in names[first:] + names[:first]}
    await _send(fleet)
    await fleet.settled()
    await fleet.agree(checks)
    async with fault(fleet, figures):
        await fleet.agree(dict(reversed(checks.items())))
    await _send(fleet)
    await fleet.settled()
    await fleet.agree(checks)

    async def has_no_lag() -> bool:
        names = ("execstream_lag_records", "execstream_lag_seconds")
        return [await metric(fleet.url("apply"), name) for name in names] == [0, 0]

    await until(has_no_lag)
