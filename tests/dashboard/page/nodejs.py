"""The modules of the page under Node.js, which needs neither a server nor a browser."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from execstream.dashboard.app import PAGE

NONE = "There is no Node.js on this machine: `apt-get install nodejs` brings one."
SCRIPTS = Path(__file__).parent / "node"
PATIENCE = 300  # seconds

# Older ones have raw JSON, which browsers have since 2023, behind a flag.
_FLAG = "--harmony-json-parse-with-source"


@dataclass(frozen=True)
class Node:
    """Node.js, and a directory with the page and the scripts of the tests side by side."""

    command: tuple[str, ...]
    place: Path

    def run(self, *arguments: str) -> None:
        """Run Node.js there; it must succeed."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def node_at(place: Path) -> Node:
    """Copy page and scripts to `place`. Without Node.js tests are skipped; in CI they fail."""
    program = shutil.which("node")
    if program is None and os.environ.get("CI"):
        pytest.fail(NONE)
    if program is None:
        pytest.skip(NONE)
    shutil.copytree(PAGE, place / "page")
    shutil.copytree(SCRIPTS, place / "tests")
    (place / "package.json").write_text('{"type": "module"}')
    return Node((program, *_flags(program)), place)


def _flags(program: str) -> tuple[str, ...]:
    probe = [program, "--print", "typeof JSON.rawJSON"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return (_FLAG,) if done.stdout.strip() == "undefined" else ()
