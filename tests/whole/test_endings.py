"""The program ends without a traceback when its reader goes, and at Ctrl-C at any moment."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

from execstream.cli import app
from tests.orders import Orders
from tests.whole.program import PATIENCE, Program
from tests.worker import Installation

READER_GONE = 141
RUNS = 60
MOMENTS = 24  # at which Ctrl-C comes
SLOWEST = 1.5  # seconds after the start


@pytest.fixture(scope="module")
async def many_runs(place: Installation, worker: object) -> None:
    """More runs than a pipe holds as JSON."""
    inputs = {"text": "x" * 4_000}
    await place.put([Orders().create(inputs=inputs) for _ in range(RUNS)])
    await place.drained()


@pytest.mark.usefixtures("many_runs")
@pytest.mark.parametrize(
    "arguments", [("list", "--limit", "60", "--json"), ("list",), ("migrate", "--sql"), ("--help",)]
)
async def test_no_reader(program: Program, arguments: Sequence[str]) -> None:
    """With a closed reader like `| head`, buffered or not: nothing on stderr, and 141."""
    read, write = os.pipe()
    os.close(read)
    async with program.running(*arguments, stdout=write) as process:
        os.close(write)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)

    assert (process.returncode, err) == (READER_GONE, b"")


@pytest.mark.slow
async def test_interrupted_at_any_moment(program: Program) -> None:
    """During imports, while connecting, at work and at the end."""
    for moment in range(MOMENTS):
        async with program.running("list", "--limit", "10000") as process:
            # Before that, Python itself begins, which cannot be made silent.
            await asyncio.to_thread(_wait_for_signal_handling, process.pid)
            await asyncio.sleep(SLOWEST * moment / MOMENTS)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE)

        assert err == b"", f"{moment}: {err.decode()}"
        assert process.returncode in {0, 130, -signal.SIGINT}


def _wait_for_signal_handling(pid: int) -> None:
    """Return when the process no longer has Python's own handler of Ctrl-C, or has ended."""
    give_up_at = time.monotonic() + PATIENCE
    had_handler = False
    while time.monotonic() < give_up_at:
        try:
            with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - it may be gone
                lines = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        except OSError:
            return
        caught = int(lines["SigCgt"], 16) >> (signal.SIGINT - 1) & 1
        if had_handler and not caught:
            return
        had_handler = had_handler or bool(caught)


@pytest.mark.parametrize("command", sorted(name for name in app if not name.startswith("-")))
async def test_each_command_in_its_imports(program: Program, command: str) -> None:
    """No command imports anything that makes Ctrl-C a traceback."""
    async with program.running(command, "--help") as process:
        await asyncio.to_thread(_wait_for_signal_handling, process.pid)
        await asyncio.sleep(0.05)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)

    assert err == b""
    assert process.returncode in {0, 130, -signal.SIGINT}
