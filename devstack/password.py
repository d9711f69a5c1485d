"""The password of the servers of one state directory: random, readable by its owner alone.

It is never in a command line, which every user of a machine can read. Servers get it by a file of
mode 0600 or through stdin, clients by `stack.json`, which has mode 0600 too.
"""

import secrets
from pathlib import Path

PASSWORD = "password"  # noqa: S105 - the name of a file
BYTES = 24


def ensure_password(state: Path) -> str:
    """Return the directory's password, made on first use: letters, digits, `-` and `_`."""
    path = state / PASSWORD
    if not path.exists():
        write_private(path, secrets.token_urlsafe(BYTES))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that only its owner can read."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.unlink(missing_ok=True)  # its mode could be another
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
