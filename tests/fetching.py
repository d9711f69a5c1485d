"""Programs for the tests marked `fetched`; in CI, `python -m tests.fetching` installs the missing.

Without one its tests are skipped, and in CI they fail.
"""

import os
import shutil

import pytest

from tests.debian import install

# By name, the package of Debian that has it.
PACKAGES = {
    "chromium": "chromium",
    "go": "golang-go",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "mvn": "maven",
    "node": "nodejs",
    "npm": "npm",
    "pgbouncer": "pgbouncer",
    "prometheus": "prometheus",
    "redis-server": "redis-server",
}
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


def find(name: str) -> str | None:
    """The path of a program; Debian has servers outside of a user's PATH."""
    return shutil.which(name, path=_PATH)


def program(name: str) -> str:
    """The path of a program, for a test that needs it."""
    found = find(name)
    if found is None:
        missing = f"{name} is missing. Run `apt install {PACKAGES[name]}`."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def main() -> None:
    """Install in CI all missing programs, at once; elsewhere print those that are skipped."""
    missing = sorted({PACKAGES[name] for name in PACKAGES if find(name) is None})
    if missing and os.environ.get("CI") != "true":
        print(f"Some tests are skipped: run `apt install {' '.join(missing)}`.")
    elif missing and (complaint := install(*missing)):
        print(complaint)


if __name__ == "__main__":  # before the tests, so that their time does not run while apt works
    main()
