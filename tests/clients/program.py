"""Programs of other languages in folders of their own, with packages of their registries."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 600.0  # seconds; packages may have to be downloaded


async def run(
    folder: Path, *command: str | Path, variables: Mapping[str, str] | None = None
) -> str:
    """The output of a program; AssertionError with all of it unless its exit code is 0."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env=os.environ | dict(variables or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()}"
    return out.decode()
