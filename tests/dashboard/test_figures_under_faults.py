"""No figure differs from the rows by more than its delay, under any fault: they are compared with a
count of the rows while the fault lasts and after it, on servers of our own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from execstream import ExecutionClient
from execstream.devstack import Stack
from execstream.devstack.ports import free_ports
from execstream.storage.connections import connect
from tests.dashboard.counted_rows import CALLER, Witness
from tests.dashboard.registered_figures import OF_ROWS, OF_THE_TALLY, Check, metric, registered
from tests.dashboard.serving import site
from tests.orders import Order, Orders
from tests.whole.program import Program
from tests.worker import QUICK, Installation, Worker, installation, until

PATIENCE = 60.0  # seconds
PORTS = {"apply": "apply_port", "tally": "tally_port", "bridge": "bridge_port"}


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

    async def agree(self, checks: dict[str, Check]) -> None:
        """Return when each of the figures equals the count of the rows."""
        wrong = set(checks)

        async def none_is_wrong() -> bool:
            for name in tuple(wrong):
                if await self._is_so(checks[name]):
                    wrong.remove(name)
            return not wrong

        try:
            await until(none_is_wrong, PATIENCE)
        except TimeoutError:
            told = [f"{name}: {await checks[name].compare(self.it)}" for name in sorted(wrong)]
            raise AssertionError("\n".join(told)) from None

    async def _is_so(self, check: Check) -> bool:
        try:
            told, rows = await check.compare(self.it)
        except (LookupError, ValueError, httpx.HTTPStatusError):
            return False  # the figures counted first are not there yet
        return bool(told == rows)


@pytest.fixture(scope="module")
async def fleet(
    breakable_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("figures")
    ports = free_ports(4)
    async with installation(breakable_stack, folder) as place:
        urls = ",".join(f"http://127.0.0.1:{port}" for port in (ports[1], ports[3]))
        settings = place.settings_with(tally_urls=urls)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in settings.environment().items():
                environment.setenv(name, value)
            sender = ExecutionClient()
        reads = await connect(settings.postgres, settings.schema_)
        async with reads, sender, site(settings, sender) as http:
            program = Program(folder, settings.environment())
            own = Fleet(place, breakable_stack, Witness(place, reads, http, program), ports)
            for role in PORTS:
                await own.start(role)
            yield own
            await own.stop()


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


async def _send(fleet: Fleet, **options: Any) -> None:
    for _ in range(5):
        await fleet.place.put(_work(**options))


# ---- faults ------------------------------------------------------------------------------------


@asynccontextmanager
async def _apply_is_killed(fleet: Fleet) -> AsyncIterator[None]:
    """Sent commands wait, and count as lag."""
    await fleet.kill("apply")
    await _send(fleet)
    yield
    await fleet.start("apply")


@asynccontextmanager
async def _bridge_is_killed(fleet: Fleet) -> AsyncIterator[None]:
    await fleet.kill("bridge")
    await _send(fleet)
    await fleet.settled()
    yield
    await fleet.start("bridge")


@asynccontextmanager
async def _redis_is_full(fleet: Fleet) -> AsyncIterator[None]:
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
async def _another_installation_answers(fleet: Fleet) -> AsyncIterator[None]:
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
async def _clocks_are_ahead(fleet: Fleet) -> AsyncIterator[None]:
    """Clocks of producers are ahead by two hours."""
    await _send(fleet, ahead=timedelta(hours=2))
    await fleet.settled()
    yield


@asynccontextmanager
async def _tally_is_killed(fleet: Fleet) -> AsyncIterator[None]:
    """Its figures stay where they were."""
    names = [name for name in OF_THE_TALLY if not name.startswith(("`/v1/live", "`figures`"))]
    before = {name: (await OF_THE_TALLY[name].compare(fleet.it))[0] for name in names}
    await fleet.kill("tally")
    await _send(fleet)
    await fleet.settled()
    await fleet.agree(OF_ROWS)
    for name in ("BlockFigures", "TopError", "BlockError"):
        assert (await OF_THE_TALLY[name].compare(fleet.it))[0] == before[name]
    await fleet.start("tally")
    yield


FAULTS: list[Callable[[Fleet], AbstractAsyncContextManager[None]]] = [
    _apply_is_killed,
    _bridge_is_killed,
    _redis_is_full,
    _another_installation_answers,
    _tally_is_killed,
    _clocks_are_ahead,
]
SHORT = _tally_is_killed  # the one that `make test` has
LONG = pytest.mark.attacks


def test_every_figure_is_compared() -> None:
    """All that are registered as figures over rows, field by field."""
    checks = OF_ROWS | OF_THE_TALLY
    assert {name: set(check.fields.split()) for name, check in checks.items()} == registered()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.__name__.strip("_"), marks=[] if fault is SHORT else LONG)
        for fault in FAULTS
    ],
)
async def test_figures_are_those_of_the_rows(
    fleet: Fleet, fault: Callable[[Fleet], AbstractAsyncContextManager[None]]
) -> None:
    """Before, while and after something fails."""
    await _send(fleet)
    await fleet.settled()
    await fleet.agree(OF_THE_TALLY | OF_ROWS)
    async with fault(fleet):
        await fleet.agree(OF_THE_TALLY | OF_ROWS)
    await fleet.settled()
    await fleet.agree(OF_THE_TALLY | OF_ROWS)

    async def has_no_lag() -> bool:
        names = ("execstream_lag_records", "execstream_lag_seconds")
        return [await metric(fleet.url("apply"), name) for name in names] == [0, 0]

    await until(has_no_lag)
