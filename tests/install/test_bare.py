"""The wheel without extras: the package of a producer or reader."""

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from execstream import __version__
from execstream.cli import app
from tests.install.environments import Environment, outside
from tests.rooms import ROOT

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

NEEDS = {
    "local": ("demo", "up"),
    "mcp": ("mcp",),
    "server": ("serve",),
    "worker": ("archive", "export", "replay", "rules", "verify", "worker"),
}
WITH_EXTRA = {command for commands in NEEDS.values() for command in commands}
BARE = sorted(name for name in app if not name.startswith("-") and name not in WITH_EXTRA)
HEAVY = ("cyclopts", "fastapi", "faust", "mode", "rich", "uvicorn")

# Before the client deferred imports that it does not need at once.
OLD = "77b0d4a"
IMPORT = "from execstream import ExecutionClient"
RUNS = 11


def test_program(bare: Environment) -> None:
    """Help and version need no extra."""
    assert bare.execstream("--version").out == f"{__version__}\n"
    told = bare.execstream("--help")
    assert (told.code, told.err) == (0, "")
    assert all(command in told.out for command in (*BARE, *WITH_EXTRA))


@pytest.mark.parametrize("command", BARE)
def test_commands_that_need_no_extra(bare: Environment, command: str) -> None:
    """They answer, so all that they import is there."""
    told = bare.execstream(command, "--help")
    assert (told.code, told.err) == (0, "")
    assert f"Usage: execstream {command}" in told.out


@pytest.mark.parametrize(
    ("command", "extra"), [(one, extra) for extra, all_ in NEEDS.items() for one in all_]
)
def test_commands_whose_extra_is_missing(bare: Environment, command: str, extra: str) -> None:
    """One sentence names the extra."""
    told = bare.execstream(command)
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"`execstream {command}` needs the extra '{extra}': pip install 'execstream[{extra}]'\n"
    )


def test_graphs_of_the_package(bare: Environment) -> None:
    """Simulated runs walk them where there is no checkout."""
    told = bare.execstream("simulate", "--runs", "1", "--to", "commands.jsonl", "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)["written"] > 0


def test_schemas_of_the_package(bare: Environment) -> None:
    """They are made from its types, and equal those of the checkout."""
    told = bare.execstream("schema", "event")
    assert told.code == 0, told.err
    assert told.out == (ROOT / "docs" / "schemas" / "event.json").read_text(encoding="utf-8")


def test_what_is_imported(bare: Environment) -> None:
    """The client comes from the environment, without anything that only servers need."""
    told = bare.evaluate(
        f"{IMPORT}\nimport json, sys, execstream\n"
        f"print(json.dumps([execstream.__file__, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    assert told.code == 0, told.err
    file, heavy = json.loads(told.out)
    assert Path(file).is_relative_to(bare.folder)
    assert heavy == []


def test_time_of_the_import(bare: Environment, workspace: Path) -> None:
    """It takes at most half of the processor time that it took before."""
    found = subprocess.run(
        ["git", "archive", "--format=tar", OLD],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if found.returncode:
        missing = f"The history of this checkout lacks {OLD}: run git fetch --unshallow."
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    old = workspace / "old"
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(old, filter="data")
    times: dict[Path, list[float]] = {old: [], bare.home: []}
    for _ in range(RUNS + 1):
        for folder, taken in times.items():
            taken.append(_user_time(bare, folder))
    before, now = (statistics.median(taken[1:]) for taken in times.values())
    assert now <= 0.5 * before, f"{now:.3f} s, {before:.3f} s before"


def _user_time(bare: Environment, folder: Path) -> float:
    """Seconds of the processor that the import takes where `execstream` is that of `folder`."""
    process = subprocess.Popen([bare.python, "-c", IMPORT], cwd=folder, env=outside())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime


def test_types_are_seen(bare: Environment) -> None:
    """A strict type checker reports a wrong call."""
    wrong = bare.home / "wrong.py"
    wrong.write_text(f"{IMPORT}\nExecutionClient(kafka_bootstrap=9092)\n")
    told = bare.run(*mypy(bare, wrong))
    assert told.code == 1
    assert 'Argument "kafka_bootstrap" to "ExecutionClient" has incompatible type "int"' in told.out


def mypy(environment: Environment, file: Path) -> tuple[str, ...]:
    """The command that checks a file as if mypy were in that environment."""
    options = ("--strict", "--config-file=", "--python-executable", str(environment.python))
    return (sys.executable, "-m", "mypy", *options, str(file))
