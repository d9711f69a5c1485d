"""The jars of Apache Kafka, resolved and downloaded once into the user's cache directory.

Resolving reads about 100 small files from Maven Central, one after the other, and takes longer than
the download of the 45 MB itself. Downloads are compared with the list of names and SHA-256 sums
beside this file, and moved to their final place when complete: an interrupted or altered download
leaves nothing that a later start could take for good.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import requests
from jgo.maven import Artifact, MavenContext, PythonResolver

from execstream.devstack.errors import StackError
from execstream.devstack.progress import Progress, shown

VERSION = "4.3.0"
SUMS = Path(__file__).with_name(f"kafka-{VERSION}.sha256")
# Not the log4j binding: with it the resolver picks a kafka-clients of another version.
ROOTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
PARALLEL_DOWNLOADS = 6
REQUEST_TIMEOUT = 60  # seconds


class Cancelled(Exception):
    """The start was given up while the jars came in."""


def cache_directory() -> Path:
    """The directory for downloads, for all projects and state directories of a user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "execstream"


def ensure_jars(report: Callable[[str], None], cancelled: Event) -> Path:
    """Directory with all jars of the broker, downloaded if they are not there yet.

    Args:
        report: called with a sentence about the current step.
        cancelled: set by another thread to give up at the next file.

    Raises:
        StackError: there is no network, no room, no right to write, or a wrong file came.
        Cancelled: `cancelled` was set.
    """
    home = cache_directory() / f"kafka-{VERSION}"
    if home.is_dir():
        return home
    report(f"Fetching Apache Kafka {VERSION} into {home}: 45 MB, once, about half a minute.")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=home.parent, prefix="kafka-") as draft,
            shown(f"Apache Kafka {VERSION}", report) as progress,
        ):
            jars = _download(Path(draft), progress, cancelled)
            check(jars)
            _publish(jars, home)
    except (requests.RequestException, RuntimeError) as error:
        raise StackError(
            f"Apache Kafka {VERSION} could not be fetched from Maven Central: the first start "
            f"needs the network, later ones do not ({type(error).__name__})."
        ) from error
    except OSError as error:
        raise StackError(
            f"Apache Kafka {VERSION} could not be kept in {home}: {error.strerror}. Make room "
            "there, or set XDG_CACHE_HOME to a directory that has some."
        ) from error
    return home


def _download(draft: Path, progress: Progress, cancelled: Event) -> Path:
    artifacts = _resolve(draft / "maven", cancelled)
    jars = draft / "jars"
    jars.mkdir()
    progress(0, len(artifacts))
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        pending = [pool.submit(artifact.resolve) for artifact in artifacts]
        for done, download in enumerate(as_completed(pending), start=1):
            jar = download.result()
            jar.rename(jars / jar.name)
            progress(done, len(artifacts))
    return jars


def _resolve(repository: Path, cancelled: Event) -> list[Artifact]:
    @contextmanager
    def before_each_file(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        if cancelled.is_set():
            raise Cancelled
        yield lambda _received: None

    resolver = PythonResolver(progress_callback=before_each_file)
    context = MavenContext(resolver, repo_cache=repository, timeout=REQUEST_TIMEOUT)
    roots = [context.create_dependency(root) for root in ROOTS]
    # The resolver's second answer holds the dependencies of the roots, without the roots
    # themselves.
    resolved, needed = resolver.resolve(roots)
    runtime = [dependency for dependency in needed if dependency.scope in {"compile", "runtime"}]
    return [dependency.artifact for dependency in [*resolved, *runtime]]


def check(jars: Path) -> None:
    """Compare the jars with the known names and sums.

    Raises:
        StackError: one is missing, too many or different.
    """
    expected = {}
    for line in SUMS.read_text().splitlines():
        digest, name = line.split()
        expected[name] = digest
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    if found != expected:
        wrong = {name for name, _ in found.items() ^ expected.items()}
        raise StackError(
            f"The jar from Maven Central is not that of Apache Kafka {VERSION} as it is known here "
            f"({', '.join(sorted(wrong))}): start again, and do not trust the network if it stays."
        )


def _publish(jars: Path, home: Path) -> None:
    try:
        jars.rename(home)
    except OSError:
        if not home.is_dir():
            raise
        # Another start was faster; its jars are as good, as their sums show.
