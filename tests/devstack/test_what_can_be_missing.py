"""Each obstacle to a start of the stack is reported in one sentence with the way out."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from execstream.devstack import StackError, jars, java, server, start
from execstream.devstack.server import Server

Answer = Callable[[], Awaitable[bool]]


def silent(_sentence: str) -> None:
    """Take the reports of the stack and drop them."""


async def never() -> bool:
    """Answer for a server that does not come up."""
    return False


def script(path: Path, *lines: str) -> Path:
    """Make a shell script that can be run."""
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is all of PATH, and no Java from a package."""
    monkeypatch.setattr(java, "_shipped", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("path_only")
def test_no_java() -> None:
    """Without any Java the message names the version needed and the extra that brings it."""
    with pytest.raises(StackError, match=r"No Java was found.*17 or newer.*'local'"):
        java.find_java()


@pytest.mark.parametrize(("version", "major"), [("11.0.2", 11), ("1.8.0_402", 1)])
def test_an_old_java(path_only: Path, version: str, major: int) -> None:
    """A Java that cannot run the broker is refused by its version."""
    script(path_only / "java", f"echo 'openjdk version \"{version}\"' >&2")

    with pytest.raises(StackError, match=rf"java is Java {major}, and Kafka needs version 17"):
        java.find_java()


def test_a_java_on_path(path_only: Path) -> None:
    """A Java on PATH that is new enough does where no package brings one."""
    found = script(path_only / "java", "echo 'openjdk version \"21.0.1\" 2023-10-17' >&2")

    assert java.find_java() == str(found)


async def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is named with its free and the needed space."""
    nearly_full = SimpleNamespace(free=42 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: nearly_full)

    with pytest.raises(StackError, match=r"There are 42 MB free .* needs 500 MB"):
        await start(tmp_path, report=silent)


async def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A state directory below a file is refused with the system's reason."""
    (tmp_path / "file").touch()

    with pytest.raises(StackError, match=r"cannot be kept in .*file/state: Not a directory"):
        await start(tmp_path / "file" / "state", report=silent)


def test_no_network_for_the_first_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the network the first start reports it, and leaves nothing half done behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    with pytest.raises(StackError, match="the first start needs the network"):
        jars.ensure_jars(silent, Event())

    assert list((tmp_path / "execstream").iterdir()) == []


def test_a_download_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled download stops at the next file, and leaves nothing half done behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cancelled = Event()
    cancelled.set()

    with pytest.raises(jars.Cancelled):
        jars.ensure_jars(silent, cancelled)

    assert list((tmp_path / "execstream").iterdir()) == []


def test_an_altered_download(tmp_path: Path) -> None:
    """Jars that are not the known ones are not run."""
    (tmp_path / "kafka-clients-4.3.0.jar").write_bytes(b"something else")

    with pytest.raises(
        StackError, match=r"not that of Apache Kafka 4\.3\.0 .*kafka-clients-4\.3\.0\.jar"
    ):
        jars.check(tmp_path)


async def test_a_server_that_ends_at_once(tmp_path: Path) -> None:
    """The message holds the server's last line and where the rest is."""
    failing = script(tmp_path / "failing", "echo no luck today", "exit 3")
    broken = Server("Luck", [str(failing)], (), tmp_path / "luck.log", never)

    broken.spawn()
    with pytest.raises(StackError, match=r"Luck ended while starting: no luck today .*luck\.log"):
        await broken.wait_ready()


async def test_a_server_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is given up after a while, and one that does not heed its signal is killed."""
    monkeypatch.setattr(server, "READY_TIMEOUT", 0.2)
    monkeypatch.setattr(server, "STOP_TIMEOUT", 0.2)
    deaf = script(tmp_path / "deaf", "trap '' TERM", "while :; do sleep 1; done")
    stuck = Server("Deaf", [str(deaf)], (), tmp_path / "deaf.log", never)

    stuck.spawn()
    with pytest.raises(StackError, match="Deaf did not answer within"):
        await stuck.wait_ready()
    await stuck.stop()

    assert stuck.pid is None
