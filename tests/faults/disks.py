"""Servers on a small disk of their own (a tmpfs), which becomes full."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from execstream.devstack import Stack, start
from tests.faults.needs import Unavailable, require_root
from tests.faults.scenarios import Run, repeated, under_load
from tests.faults.trial import Outcome, Trial

SIZE = "600m"
FULL = 5.0  # seconds
BLOCK = 64 * 1024  # bytes
AFTERWARDS = 1.0  # seconds until a server that must end has ended


def on_a_small_disk(server: str) -> Run:
    """Return a run that fills the disk of a server, on a stack of its own."""

    async def run(_: Stack, folder: Path, seed: int, times: int) -> Outcome:
        async with _small(server, folder) as stack:
            disk = stack.state / server
            script = repeated(lambda trial: fill(trial, server, disk))
            return await under_load(script)(stack, folder, seed, times)

    return run


async def fill(trial: Trial, server: str, disk: Path) -> None:
    """No space is left for some seconds; a server that ends from that comes back afterwards."""
    ballast = disk / "ballast"
    await asyncio.to_thread(_write_until_full, ballast)
    await asyncio.sleep(FULL)
    ballast.unlink()
    for _ in range(2):
        await asyncio.sleep(AFTERWARDS)
        await trial.stack.restart(server)


def _write_until_full(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(BLOCK))


@asynccontextmanager
async def _small(server: str, folder: Path) -> AsyncIterator[Stack]:
    """A stack with the data of `server` on a small disk."""
    require_root()
    state = folder / f"small-disk-of-{server}"
    stack = await start(state, report=lambda _: None)
    try:
        await stack.kill(server)
        with _moved(state / server):
            await stack.restart(server)
            try:
                yield stack
            finally:
                await stack.stop()
    finally:
        await stack.stop()
        shutil.rmtree(state, ignore_errors=True)


@contextmanager
def _moved(data: Path) -> Iterator[None]:
    """Move a directory to a tmpfs at its place."""
    before = data.with_name(f"{data.name}.before")
    data.rename(before)
    data.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "execstream", str(data))
    try:
        _run("cp", "-a", f"{before}/.", str(data))
        yield
    finally:
        _run("umount", "--lazy", str(data))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
