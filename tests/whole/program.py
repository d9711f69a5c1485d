"""The `execstream` program, run as people run it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.worker import HOME

PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Result:
    """The end of a program."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document it printed."""
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        """The items it printed, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Program:
    """Runs `execstream` in a directory, with the given variables and no other settings."""

    directory: Path
    variables: Mapping[str, str]

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run until it ends; SIGKILL and TimeoutError if it does not."""
        async with self.running(*arguments) as process:
            said = await asyncio.wait_for(process.communicate(stdin), PATIENCE)
        assert process.returncode is not None
        return Result(process.returncode, *(part.decode() for part in said))

    @asynccontextmanager
    async def running(
        self, *arguments: str, stdout: int = asyncio.subprocess.PIPE
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run beside the test, which may end it; else it is killed at the end."""
        others = {name: os.environ[name] for name in os.environ if "EXECSTREAM_" not in name}
        own = {"PYTHONPATH": str(HOME), "COLUMNS": "160", **self.variables}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "execstream", *arguments),
            cwd=self.directory,
            env=others | own,
            stdin=asyncio.subprocess.PIPE,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
