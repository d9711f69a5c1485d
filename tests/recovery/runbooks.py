"""The runbooks of docs/recovery.md, run as they stand there."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from uuid import uuid4

import asyncpg

from execstream.config.settings import Settings
from execstream.devstack import Addresses
from execstream.devstack.postgres import find_binaries
from tests.worker import HOME

PATIENCE = 60.0  # seconds
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d[\d,.]*")


@dataclass(frozen=True)
class Step:
    """Commands for a shell, and lines that they print, whatever the figures, ids and gaps."""

    commands: str
    expected: str

    def missing_from(self, printed: str) -> set[str]:
        """Expected lines that were not printed."""
        return set(_lines(self.expected)) - set(_lines(printed))


def steps_of(title: str) -> list[Step]:
    """The steps of the runbook under the heading `title`."""
    _, _, rest = (HOME / "docs/recovery.md").read_text().partition(f"\n## {title}\n")
    return steps_in(rest.partition("\n## ")[0])


def steps_in(text: str) -> list[Step]:
    """The steps of a document, or of a part of one: a block of commands, and one of output."""
    blocks = _BLOCK.findall(text)
    return [
        Step(text, following[1] if following[0] == "text" else "")
        for (kind, text), following in zip_longest(blocks, blocks[1:], fillvalue=("", ""))
        if kind == "sh"
    ]


@dataclass(frozen=True)
class Shell:
    """A shell of an operator with the settings in the environment."""

    folder: Path
    settings: Settings

    async def run(self, step: Step, **more: str) -> str:
        """Run the step and return its output, which has the expected lines; it must succeed."""
        program = self.folder / "execstream"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m execstream "$@"\n')
        program.chmod(0o755)
        path = f"{self.folder}:{find_binaries()}:{os.environ['PATH']}"
        others = {name: os.environ[name] for name in os.environ if "EXECSTREAM_" not in name}
        own = {
            "PATH": path,
            "PYTHONPATH": str(HOME),
            "COLUMNS": "200",
            **self.settings.environment(),
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", step.commands),
            cwd=self.folder,
            env=others | own | more,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        printed = said.decode()
        assert process.returncode == 0, printed
        assert not step.missing_from(printed), printed
        return printed


def _lines(text: str) -> list[str]:
    return [_FIGURE.sub("#", " ".join(line.split())) for line in text.splitlines()]


@asynccontextmanager
async def own_database(stack: Addresses) -> AsyncIterator[Addresses]:
    """The servers of `stack`, with a database that a test may drop."""
    name = f"lost_{uuid4().hex[:12]}"
    dsn = f"{stack.postgres_dsn.rpartition('/')[0]}/{name}"
    await administer(stack, f"create database {name}")
    try:
        yield Addresses(stack.kafka_bootstrap, dsn, stack.redis_url)
    finally:
        await administer(stack, f"drop database if exists {name} with (force)")


async def administer(stack: Addresses, statement: str) -> None:
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
