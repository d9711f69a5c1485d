"""The release before the import names moved below `execstream`: unpacks it and runs its programs.

Modules are named here as that release names them.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.devstack.redis import find_server
from tests.whole.program import Program
from tests.worker import HOME, PATIENCE

COMMIT = "77b0d4a50d226664b6e04d5692b2d5dd2750baed"
PACKAGES = ("agents", "dashboard", "devstack", "execstream", "storage", "streams")
PROGRAMS = "programs"  # folder that is on PATH for the release
DIED = 86  # exit code of a worker that died at a crash point

# No fixed ports: another stack on this machine, such as a demo, may hold the defaults.
PORTS = {f"EXECSTREAM_{role}_PORT": "0" for role in ("APPLY", "TALLY", "BRIDGE", "HTTP")}

# Prints the keys of the advisory locks, which both releases must have in common.
PRINT_LOCKS = """
import json
from execstream.recovery.replay.turns import Cores, Turns
from storage import alerts, migrate
turns = Turns("", "a schema", "live", "a topic", Cores())
print(json.dumps([migrate._LOCK, alerts._LOCK, turns._name]))
"""


def unpack(folder: Path) -> "OldRelease":
    """Unpack the release into `folder`; skip the test when the repository lacks the commit."""
    git, tar = shutil.which("git") or "git", shutil.which("tar") or "tar"
    folder.mkdir()
    try:
        archive = subprocess.run(
            [git, "-C", str(HOME), "archive", COMMIT], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        missing = f"This repository lacks commit {COMMIT[:7]}: run git fetch --unshallow."
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    subprocess.run([tar, "-x", "-C", str(folder)], input=archive.stdout, check=True)
    (folder / PROGRAMS).mkdir()
    # The release looks for a package that is no longer installed, then on PATH.
    (folder / PROGRAMS / "redis-server").symlink_to(find_server())
    return OldRelease(folder)


@dataclass(frozen=True)
class OldRelease:
    """The release, unpacked in `home`; its programs run there and keep `.execstream` there."""

    home: Path

    @property
    def program(self) -> Program:
        """The `execstream` program of the release."""
        path = f"{self.home / PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        return Program(self.home, {"PYTHONPATH": str(self.home), "PATH": path} | PORTS)

    async def output_of(self, code: str) -> str:
        """Run Python code that imports modules of the release; return its output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code),
            cwd=self.home,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            await _kill(process)
        assert process.returncode == 0
        return printed.decode()

    async def check_imports(self) -> None:
        """Assert that imports find the release and not the package installed beside it."""
        names = ", ".join(PACKAGES)
        code = f"import {names}; print(*[package.__file__ for package in ({names})])"
        found = {Path(file).parent for file in (await self.output_of(code)).split()}
        assert found == {self.home / package for package in PACKAGES}

    @asynccontextmanager
    async def worker(self, role: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker; it is killed when the context ends."""
        async with self._running(role, "execstream", "worker", "--role", role) as process:
            yield process

    async def crash(self, stack: Addresses, *, commits: int, batch_records: int) -> None:
        """Run a worker of role apply until it dies right after its commit number `commits`.

        The events of that commit are in the journal, and not published.
        """
        config = json.dumps(
            {
                "kafka_bootstrap": stack.kafka_bootstrap,
                "postgres_dsn": stack.postgres_dsn,
                "redis_url": stack.redis_url,
                "batch_records": batch_records,
            }
        )
        plan = json.dumps({"committed": [commits]})
        program = ("tests.faults.crashing_worker", "apply", config, plan)
        async with self._running("crashing", *program) as process:
            code = await asyncio.wait_for(process.wait(), PATIENCE)
        assert code == DIED, (self.home / "crashing.log").read_text()[-2_000:]

    @asynccontextmanager
    async def _running(
        self, log: str, module: str, *arguments: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        with (self.home / f"{log}.log").open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments),
                cwd=self.home,
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,  # the crashing worker ends when this does
                stdout=file,
                stderr=file,
            )
        try:
            yield process
        finally:
            await _kill(process)

    def _environment(self) -> dict[str, str]:
        others = {name: os.environ[name] for name in os.environ if "EXECSTREAM_" not in name}
        return {**others, **self.program.variables}


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
