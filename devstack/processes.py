"""Questions about processes, and the identity to run one under."""

import asyncio
import pwd
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import psutil


class Identity(TypedDict, total=False):
    """Keyword arguments of `subprocess` for the user that runs a process."""

    user: int
    group: int
    extra_groups: list[int]


def identity(user: str | None) -> Identity:
    """Identity of a system user with none of our rights left, or our own for None."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


async def run(
    command: Sequence[str],
    who: Identity | None = None,
    stdin: bytes = b"",
    directory: Path = Path("/"),
) -> str | None:
    """Run a program to its end; None, or its output when it failed. Cancelled, it is killed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, cwd=directory, **(who or {})
    )
    try:
        said, _ = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            kill(family_of(process.pid))
            await process.wait()
    return None if process.returncode == 0 else said.decode(errors="replace").strip()


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still works: a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family_of(pid: int) -> list[psutil.Process]:
    """A process and everything it started that is still its descendant; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to those that are still there."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it was faster
