"""This machine and the settings of this process."""

import shutil
import tempfile
from collections.abc import Iterator

from execstream.cli.diagnosis.finding import Examined, Finding
from execstream.config.settings import Settings

ROOM = 1024**3  # bytes

_here = Examined("machine")
_settings = Examined("settings")


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Check combinations of values; single wrong values do not get this far."""
    yield _settings.ok("values", "all can be understood")
    ports = [settings.http_port, settings.apply_port, settings.tally_port, settings.bridge_port]
    taken = [port for port in ports if port]
    if len(set(taken)) < len(taken):
        yield _settings.warning(
            "ports",
            f"{', '.join(map(str, taken))} are not all different",
            "Give each role a port of its own, or run them on different machines.",
        )


def examine_machine() -> Iterator[Finding]:
    """Check the disk space for files written here: logs, and exports."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    found = f"{free / ROOM:.1f} GiB free at {folder}"
    if free >= ROOM:
        yield _here.ok("disk", found)
    else:
        yield _here.warning("disk", found, "Make room, or set TMPDIR to a place that has some.")
