"""Install the packages of a requirements file, with progress.

Usage: `python ops/install_packages.py FILE`.

Runs in a new environment, so it imports nothing but the standard library. pip by itself prints
either nothing for minutes or some hundreds of lines.
"""

import re
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

PIP = (sys.executable, "-u", "-m", "pip", "--disable-pip-version-check", "--no-input")
POLL = 0.5  # seconds between looks at which packages are there
LINES_OF_A_FAILURE = 20
EVERY = 10  # packages, where the output is not a terminal
COLUMNS = 70

_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*==", re.MULTILINE)
_COLLECTING = re.compile(r"Collecting ([\w.-]+)")
_BUILDING = re.compile(r"\s*Building wheel for ([\w.-]+) .*started")


class Progress:
    """Prints `done` of `total` packages: over the line before at a terminal, else now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._last = ""

    def show(self, act: str, done: int, name: str = "") -> None:
        """Print a step that is not the one before."""
        line = f"{act} packages: {done} of {self._total}"
        if line == self._last:
            return
        self._last = line
        if sys.stdout.isatty():
            print(f"\r{f'{line}  {name}':<{COLUMNS}}", end="", flush=True)
        elif done % EVERY == 0 or done == self._total:
            print(line, flush=True)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        print(f"\r{text:<{COLUMNS}}" if sys.stdout.isatty() else text, flush=True)


def main(requirements: str) -> int:
    """Install; return pip's exit code."""
    progress = Progress(len(_PINNED.findall(Path(requirements).read_text())))
    command = (*PIP, "install", "--require-hashes", "-r", requirements)
    with subprocess.Popen(  # noqa: S603 - our own argument vector, no shell
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None  # noqa: S101 - it is a pipe
        last = deque(_shown(pip.stdout, progress), maxlen=LINES_OF_A_FAILURE)
    if pip.returncode == 0:
        progress.say("All packages are installed.")
    else:
        progress.say("pip could not install the packages:")
        print(*last, sep="", end="", file=sys.stderr)
    return pip.returncode


def _shown(lines: Iterable[str], progress: Progress) -> Iterator[str]:
    """Pass on pip's lines, showing the start of each step."""
    collected = 0
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(progress, ended), daemon=True)
    for line in lines:
        if found := _COLLECTING.match(line):
            collected += 1
            progress.show("Fetching", collected, found[1])
        elif found := _BUILDING.match(line):
            progress.say(f"Compiling {found[1]}, which has no package for this Python.")
        elif line.startswith("Installing collected packages") and not watcher.is_alive():
            watcher.start()
        yield line
    ended.set()
    if watcher.is_alive():
        watcher.join()


def _watch(progress: Progress, ended: threading.Event) -> None:
    """Count packages as they appear: pip prints nothing while it unpacks them."""
    folder = Path(sysconfig.get_path("purelib"))
    before = len(list(folder.glob("*.dist-info")))
    while not ended.wait(POLL):
        progress.show("Unpacking", len(list(folder.glob("*.dist-info"))) - before)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:  # the next `make setup` goes on
        sys.exit(130)
