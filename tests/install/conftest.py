"""A clean copy of the checkout, its builds, and environments with them, made once."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.install.environments import Environment, call
from tests.rooms import ROOT


@dataclass(frozen=True)
class Built:
    """The files of a release, and a wheel that was built from its sdist."""

    wheel: Path
    sdist: Path
    wheel_of_sdist: Path


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder outside of the checkout. Not pytest's: as root PostgreSQL runs as another user."""
    with TemporaryDirectory(prefix="execstream-install-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def checkout(workspace: Path) -> Path:
    """A copy of the files that git knows or would add, with links as links."""
    copy = workspace / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if os.path.lexists(source):  # not one that was deleted, but not yet for git
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return copy


KEPT = "EXECSTREAM_TEST_DIST"  # a folder for the builds that are tried; it is made


@pytest.fixture(scope="session")
def built(checkout: Path, workspace: Path) -> Built:
    """Wheel and sdist of the checkout, and a wheel of the sdist."""
    dist, again, unpacked = workspace / "dist", workspace / "dist-of-sdist", workspace / "sdist"
    call("-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(dist), cwd=checkout)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (sources,) = unpacked.iterdir()
    call("-m", "hatchling", "build", "-t", "wheel", "-d", str(again), cwd=sources)
    (wheel,), (wheel_of_sdist,) = dist.glob("*.whl"), again.glob("*.whl")
    if kept := os.environ.get(KEPT):
        shutil.copytree(dist, kept)
    return Built(wheel, sdist, wheel_of_sdist)


@pytest.fixture(scope="session")
def environment(workspace: Path) -> Callable[[str], Environment]:
    """Make an empty environment of that name."""
    return lambda name: Environment.create(workspace / name)


@pytest.fixture(scope="session")
def bare(environment: Callable[[str], Environment], built: Built) -> Environment:
    """An environment with the wheel and no extra. No test installs anything else into it."""
    made = environment("bare")
    made.install(str(built.wheel))
    return made
