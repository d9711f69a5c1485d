"""Programs of npm that look at the page: its types, its style, and its accessibility.

    python -m tests.dashboard.page.page_tools [--fix]

checks types and style; `--fix` formats and mends instead. Without Node.js or a registry of npm the
checks are skipped, and in CI they fail.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.debian import install
from tests.fetching import PACKAGES, find
from tests.rooms import ROOT

CONFIGURATION = ROOT / "ops" / "page"
PLACE = ROOT / "build" / "page-tools"
MODULES = PLACE / "node_modules"
PATIENCE = 300  # seconds
_NEEDED = ("node", "npm")
_FILES = ("package.json", "package-lock.json")
_LINT = ("biome", "check", f"--config-path={CONFIGURATION / 'rules.jsonc'}", "--error-on-warnings")


def missing_tools() -> str | None:
    """Fetch the pinned programs unless they are there; the reason if that fails."""
    if lacking := [name for name in _NEEDED if find(name) is None]:
        packages = [PACKAGES[name] for name in lacking]
        complaint = _is_ci() and install(*packages)
        if not _is_ci() or complaint:
            return f"Run `apt install {' '.join(packages)}`. {complaint or ''}".strip()
    if all(_is_current(name) for name in _FILES):
        return None
    PLACE.mkdir(parents=True, exist_ok=True)
    shutil.copy(CONFIGURATION / "package.json", PLACE)
    lock = shutil.copy(CONFIGURATION / "package-lock.json", PLACE)
    done = subprocess.run(
        [str(find("npm")), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=PLACE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        Path(lock).unlink()  # so that the next call tries again
        return f"npm could not fetch them: {done.stderr[-1_000:]}"
    return None


def main(arguments: list[str]) -> int:
    """Check the page, or mend it; 1 when something is wrong, or in CI when nothing was checked."""
    if reason := missing_tools():
        print(f"The code of the page is not checked. {reason}")
        return 1 if _is_ci() else 0
    if arguments == ["--fix"]:
        return _run(*_LINT, "--write")
    return _run("tsc", "--project", str(CONFIGURATION)) or _run(*_LINT)


def _is_current(name: str) -> bool:
    copy = PLACE / name
    return copy.exists() and copy.read_bytes() == (CONFIGURATION / name).read_bytes()


def _run(program: str, *arguments: str) -> int:
    command = [str(MODULES / ".bin" / program), *arguments]
    return subprocess.run(command, cwd=ROOT, timeout=PATIENCE, check=False).returncode


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
