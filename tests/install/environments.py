"""Virtual environments outside of the checkout, and programs that run in them."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 600.0  # seconds; packages may have to be downloaded

# Variables that would let a program find the checkout, or settings of the developer.
_HIDDEN = ("EXECSTREAM_", "MYPY", "PYTHON", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Result:
    """The end of a program."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment with packages of its own, and an empty folder to run programs in."""

    folder: Path
    home: Path

    @classmethod
    def create(cls, folder: Path) -> "Environment":
        """Make an environment in `folder`, which must not exist."""
        made = cls(folder / "venv", folder / "home")
        made.home.mkdir(parents=True)
        venv.create(made.folder, symlinks=True)
        return made

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *requirements: str) -> None:
        """Install packages with pip; modules are compiled when they are first imported."""
        self._pip("install", "--no-compile", *requirements)

    def uninstall(self, *packages: str) -> None:
        """Uninstall packages with pip."""
        self._pip("uninstall", "--yes", *packages)

    def _pip(self, command: str, *arguments: str) -> None:
        pip = (sys.executable, "-m", "pip", "--python", str(self.python))
        options = ("--quiet", "--disable-pip-version-check", "--no-input")
        ended = self.run(*pip, command, *options, *arguments)
        assert ended.code == 0, ended.err

    def execstream(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Result:
        """Run the installed program."""
        program = self.folder / "bin" / "execstream"
        return self.run(str(program), *arguments, variables=variables)

    def evaluate(self, code: str, variables: Mapping[str, str] | None = None) -> Result:
        """Run Python code."""
        return self.run(str(self.python), "-c", code, variables=variables)

    def run(self, *command: str, variables: Mapping[str, str] | None = None) -> Result:
        """Run a program in the empty folder."""
        ended = subprocess.run(
            command,
            cwd=self.home,
            env=outside() | dict(variables or {}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)


def outside() -> dict[str, str]:
    """The variables of this process without those that lead to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}


def call(*arguments: str, cwd: Path) -> str:
    """Run a module or a file in the Python of the tests; return its output."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=outside(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
