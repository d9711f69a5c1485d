"""One worker of role apply in several processes: as one process, for probes and signals."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import psutil
import pytest

from execstream.devstack.ports import free_ports
from execstream.streams.topics import COMMANDS
from execstream.workload.simulation import load_graphs
from tests.comparing import assert_equal, reference_of
from tests.faults.feeding import small_records
from tests.orders import Order
from tests.whole.program import Program
from tests.whole.test_probes import Probed
from tests.worker import HOME, Installation, Worker, until

COUNT = 3
RECORDS, AT_ONCE, PAUSE = 4_000, 40, 0.05  # and seconds between
DEATHS = 3


class Group(Probed):
    """The worker that began the processes, and the address of its probes."""

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.worker.process.pid).children()]

    async def owns_all(self) -> bool:
        """Return whether every process answers, and together they have every partition."""
        return await self.is_alive() and (
            await self.metric("execstream_partitions_owned") == COMMANDS.partitions + 1
        )


@asynccontextmanager
async def grouped(place: Installation, folder: Path) -> AsyncIterator[Group]:
    """A worker of COUNT processes that have all partitions."""
    [port] = free_ports(1)
    program = Program(folder, place.settings_with(apply_port=port).environment())
    arguments = ("worker", "--role", "apply", "--processes", str(COUNT))
    async with aiohttp.ClientSession() as http, program.running(*arguments) as process:
        worker = Worker(process, folder / "log")
        log = asyncio.create_task(_write(process, worker.log_file))
        place.workers.append(worker)
        group = Group(worker, port, http)
        await until(group.owns_all)
        yield group
        await worker.stop()
        await log


async def _write(process: asyncio.subprocess.Process, file: Path) -> None:
    """Write its log to a file: the pipe has no reader here."""
    assert process.stderr is not None
    with file.open("wb") as log:
        async for line in process.stderr:
            log.write(line)
            log.flush()


@pytest.mark.slow
async def test_a_killed_process_costs_nothing(place: Installation, tmp_path: Path) -> None:
    """It is started again, others have its partitions meanwhile, and in the end tables and events
    are those of the reference: nothing is lost and nothing twice.
    """
    records = itertools.islice(small_records(load_graphs(HOME / "examples" / "graphs"), 7), RECORDS)
    async with grouped(place, tmp_path) as group:
        first = set(group.pids)
        assert len(first) == COUNT
        step = RECORDS // AT_ONCE // (DEATHS + 1)
        for number in range(RECORDS // AT_ONCE):
            sent = itertools.islice(records, AT_ONCE)
            await place.put([Order(record.key, record.value) for record in sent])
            await asyncio.sleep(PAUSE)
            if number % step == step - 1 and number < DEATHS * step:
                psutil.Process(group.pids[number % COUNT]).kill()

        await place.drained()
        await until(group.owns_all)
        assert len(set(group.pids) - first) >= 1
        ended = group.worker.said("worker.ended")
        assert [line["exit_code"] for line in ended] == [-signal.SIGKILL] * DEATHS
        assert {line["role"] for line in ended} == {"apply"}
        assert all(1 <= line["process"] <= COUNT for line in ended)

        await assert_equal(place, await reference_of(place))


@pytest.mark.slow
async def test_one_answer_of_several_processes(place: Installation, tmp_path: Path) -> None:
    """They are ready together, their counts are summed, and a standstill of one makes the worker
    not alive.
    """
    records = itertools.islice(small_records(load_graphs(HOME / "examples" / "graphs"), 8), 300)
    async with grouped(place, tmp_path) as group:
        await place.put([Order(record.key, record.value) for record in records])
        await place.drained()

        async def has_counted() -> bool:
            return await group.metric("execstream_commands_total") == 300

        await until(has_counted)
        status, text = await group.get("/readyz")
        assert status == HTTPStatus.OK, text

        async def is_one_installation() -> bool:
            return await group.metric("execstream_worker_info") == 1

        await until(is_one_installation)  # some have heard from Kafka earlier than others

        stopped = psutil.Process(group.pids[0])
        stopped.suspend()
        await until(group.is_stalled)
        assert (await group.get("/readyz"))[0] == HTTPStatus.SERVICE_UNAVAILABLE
        assert await group.metric("execstream_commands_total") == 300
        stopped.resume()
        await until(group.is_alive)


@pytest.mark.parametrize(("end", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_all_processes_end_together(
    place: Installation, tmp_path: Path, end: signal.Signals, code: int
) -> None:
    """They end by the signals that end one; nothing is left running."""
    async with grouped(place, tmp_path) as group:
        pids = group.pids
        group.worker.process.send_signal(end)
        assert await asyncio.wait_for(group.worker.process.wait(), 20) == code
        assert not any(map(psutil.pid_exists, pids))


async def test_processes_end_with_the_worker(place: Installation, tmp_path: Path) -> None:
    """They end when it is killed, and cannot signal them."""
    async with grouped(place, tmp_path) as group:
        pids = group.pids
        await group.worker.kill()

        async def are_gone() -> bool:
            return not any(map(psutil.pid_exists, pids))

        await until(are_gone)


@pytest.mark.parametrize("role", ["tally", "bridge"])
async def test_other_roles_have_one_process(place: Installation, tmp_path: Path, role: str) -> None:
    """The error is a sentence."""
    program = Program(tmp_path, place.settings.environment())
    ended = await program("worker", "--role", role, "--processes", "2")
    assert ended.code == 1
    assert ended.err == f"A worker of role {role} has one process; start it again for more.\n"


async def test_help_tells_of_processes(tmp_path: Path) -> None:
    """A wrong number of them is refused."""
    program = Program(tmp_path, {})
    assert "--processes" in (await program("worker", "--help")).out
    for wrong in ("0", "65", "many"):
        ended = await program("worker", "--role", "apply", "--processes", wrong)
        assert ended.code != 0
        assert "--processes" in ended.err
