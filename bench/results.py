"""Measured figures that the manual shows: one JSON file for each program that measures."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import execstream
from bench.machine import described

FOLDER = Path(__file__).with_name("measured")


def save(name: str, figures: Any) -> None:
    """Write `figures` with the circumstances in which they were taken."""
    FOLDER.mkdir(exist_ok=True)
    content = {"circumstances": circumstances(), "figures": figures}
    json = msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1)
    _file(name).write_bytes(json + b"\n")


def load(name: str) -> Any | None:
    """The saved results; None where there are none."""
    return msgspec.json.decode(_file(name).read_bytes()) if _file(name).exists() else None


def circumstances() -> dict[str, str]:
    """Day, version, machine and load average."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - git is found by its name
        cwd=Path(__file__).parent,
        capture_output=True,
        check=False,
        text=True,
    )
    return {
        "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "version": f"{execstream.__version__} ({commit.stdout.strip() or 'no checkout'})",
        "load": f"{os.getloadavg()[0]:.1f}",
        **described(),
    }


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"
