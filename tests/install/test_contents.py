"""The content of the wheel and of the sdist."""

import os
import zipfile
from pathlib import Path

import pytest

from execstream import __version__
from tests.install.conftest import Built

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

PACKAGE = "execstream"
NEEDED = (
    "py.typed",
    "streams/topics.yaml",
    "storage/schema/comments.sql",
    "storage/schema/schema.sql",
    "storage/schema/migrations/0001_tables.sql",
    "page/index.html",
    "page/app.js",
    "page/shared.html",
    "page/shared.js",
    "page/styles/base.css",
    "page/vendor/uplot/uPlot.iife.min.js",
    "devstack/kafka-4.3.0.sha256",
    "workload/graphs/calculator-agent.json",
)


def files_in(wheel: Path) -> dict[str, int]:
    """Names in a wheel with their checksums, without those that describe the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.CRC for file in archive.infolist() if not _is_about(file)}


def _is_about(file: zipfile.ZipInfo) -> bool:
    return file.filename.startswith(f"{PACKAGE}-{__version__}.dist-info/")


def test_one_import_name(built: Built) -> None:
    """The wheel installs nothing beside the package and its description."""
    with zipfile.ZipFile(built.wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}


def test_the_wheel_is_complete(built: Built, checkout: Path) -> None:
    """It has every file of the package, those behind links too, and no other."""
    package = checkout / "src" / PACKAGE
    expected = {
        (Path(PACKAGE) / Path(folder).relative_to(package) / name).as_posix()
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
    }
    found = files_in(built.wheel).keys()
    assert found == expected
    assert {f"{PACKAGE}/{name}" for name in NEEDED} <= found


def test_the_sdist_is_complete(built: Built) -> None:
    """A wheel that is built from it has the same files, byte for byte."""
    assert files_in(built.wheel_of_sdist) == files_in(built.wheel)
