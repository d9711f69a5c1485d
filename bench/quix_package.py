"""The package of contender B2, which is fetched when the bench is run, into a folder of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "bench" / "contenders" / "requirements.txt"
FOLDER = ROOT / "build" / "quix"
PATIENCE = 240.0  # seconds


def fetch(requirements: Path = REQUIREMENTS, folder: Path = FOLDER) -> str | None:
    """Install it unless it is there; return the reason when it cannot be installed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = folder / f"complete-{version}"
    if done.exists():
        return None
    words = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    options = ("--require-hashes", "--only-binary", ":all:", "--target", str(folder), "--upgrade")
    try:
        pip = subprocess.run(  # noqa: S603 - our own words, no shell
            [*words, *options, "--requirement", str(requirements)],
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"its package did not come within {PATIENCE:.0f} seconds"
    if pip.returncode != 0:
        reason = (pip.stderr.strip().splitlines() or ["without a message"])[-1]
        return f"pip could not install its package: {reason}"
    done.touch()
    return None
