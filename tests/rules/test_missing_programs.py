"""Programs that tests need and this machine lacks: only CI installs packages of the system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rooms import ROOT


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """What apt is asked for; a folder that has nothing else in it stands for PATH."""
    log, apt = tmp_path / "asked", tmp_path / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    apt.chmod(0o755)
    return log


@pytest.mark.parametrize("module", ["tests.dashboard.page.browser", "tests.fetching"])
@pytest.mark.parametrize("is_ci", [False, True])
def test_nothing_is_installed_unasked(asked: Path, module: str, is_ci: bool) -> None:
    """Elsewhere the command is printed that installs them."""
    variables = {"PATH": str(asked.parent), "CI": "true" if is_ci else ""}
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert asked.exists() == (is_ci and os.geteuid() == 0)
    assert ("apt install chromium" in done.stdout) == (not is_ci)
