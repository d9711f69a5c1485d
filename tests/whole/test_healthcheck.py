"""The image's health check, beside real workers."""

import asyncio
import os
import signal
import sys

import pytest

from execstream.devstack.ports import free_ports
from tests.worker import HOME, Installation, until


async def health(ports: list[int]) -> tuple[int, str]:
    """Exit code and output, where the roles have these ports."""
    roles = ("APPLY", "TALLY", "BRIDGE", "HTTP")
    own = {f"EXECSTREAM_{role}_PORT": str(port) for role, port in zip(roles, ports, strict=True)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, HOME / "ops/image/healthcheck.py"),
        env=os.environ | own,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture
def ports() -> list[int]:
    return free_ports(4)


async def test_nobody_is_there(ports: list[int]) -> None:
    """A container in which nothing answers is not healthy."""
    assert await health(ports) == (1, "nobody answers\n")


async def test_a_worker(place: Installation, ports: list[int]) -> None:
    """Healthy when it answers, whichever of the ports is its own; not while it stands still."""
    async with place.worker(apply_port=ports[0]) as worker:

        async def is_healthy() -> bool:
            return (await health(ports))[0] == 0

        await until(is_healthy)
        worker.process.send_signal(signal.SIGSTOP)
        try:
            code, said = await health(ports)
        finally:
            worker.process.send_signal(signal.SIGCONT)

    assert code == 1
    assert "no answer" in said
