"""docs/tutorial.md, run as it stands there, in a new copy of the project."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.install.environments import outside
from tests.recovery.runbooks import steps_in

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

PATIENCE = 600.0  # seconds; a reader shall not wait for longer, either
_FILE = re.compile(r"^```python title=\"([\w.]+)\"\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NEXT = "=== the next step ==="
# If a step fails, then whatever runs in the background ends with the shell.
_SHELL = ("bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) || true; wait' EXIT\n{}")


def test_tutorial(checkout: Path, workspace: Path) -> None:
    """Each step succeeds and prints the lines that the page has below it."""
    folder = workspace / "tutorial"
    shutil.copytree(checkout, folder, symlinks=True)
    page = (folder / "docs/tutorial.md").read_text(encoding="utf-8")
    for name, program in _FILE.findall(page):
        (folder / name).write_text(program, encoding="utf-8")
    steps = steps_in(page)

    code, printed = _run(folder, f"\necho '{_NEXT}'\n".join(step.commands for step in steps))

    assert code == 0, printed
    outputs = printed.split(f"{_NEXT}\n")
    assert len(outputs) == len(steps)
    for step, output in zip(steps, outputs, strict=True):
        assert not step.missing_from(output), output


def _run(folder: Path, commands: str) -> tuple[int, str]:
    """Exit code and output of a shell that runs the commands, and of all that it starts."""
    own = {"COLUMNS": "200", "PYTHON": sys.executable}
    with subprocess.Popen(
        [part.replace("{}", commands) for part in _SHELL],
        cwd=folder,
        env=outside() | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, _ = shell.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGTERM)
            raise
    return shell.returncode, printed
