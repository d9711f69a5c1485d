"""The two commands of README.md, in a folder as people have them; and packages for each Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.environments import PATIENCE, call, outside
from tests.rooms import ROOT

pytestmark = [pytest.mark.install, pytest.mark.timeout(1_200)]

ODD_NAME = f"Größe, 東京 & 'co' ({'x' * 60})"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def without_locale() -> dict[str, str]:
    """The variables of a machine without a locale, such as a container."""
    return {
        name: value for name, value in outside().items() if not name.startswith(("LC_", "LANG"))
    }


def make(folder: Path, *arguments: str) -> str:
    """Run `make` in a folder; return its output."""
    ended = subprocess.run(
        ["make", *arguments],  # noqa: S607
        cwd=folder,
        env=without_locale(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2_000:] + ended.stderr[-2_000:]
    return ended.stdout + ended.stderr


def test_odd_path(checkout: Path, workspace: Path) -> None:
    """Spaces, commas, quotes, other scripts and more than 100 bytes change nothing; and the wait
    for the packages shows progress.
    """
    folder = workspace / ODD_NAME / "exec stream"
    assert len(os.fsencode(folder)) > 100
    shutil.copytree(checkout, folder, symlinks=True)

    said = make(folder, "setup")
    ran = make(folder, "demo", "RUNS=3")

    assert "packages: 50 of " in said
    assert "All packages are installed." in said
    assert "Nothing was lost" in ran


@pytest.mark.parametrize("python", PYTHONS)
def test_packages_are_ready_made(python: str, tmp_path: Path) -> None:
    """No package needs a compiler on a supported Python."""
    call(
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"),
        *("--only-binary", ":all:", "--python-version", python, "--target", str(tmp_path)),
        *("--no-deps", "--require-hashes", "-r", str(ROOT / "requirements.txt")),
        cwd=tmp_path,
    )
