"""Debian's packages, for tests of programs that no package of Python brings."""

import os
import shutil
import subprocess


def install(*packages: str) -> str:
    """Have apt install packages, which takes a minute or two; return apt's error if it fails."""
    print(f"Installing {', '.join(packages)} for the tests ...", flush=True)
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return "Only root can, with apt."
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [apt, "-qq", *arguments],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stderr[-1_000:]
