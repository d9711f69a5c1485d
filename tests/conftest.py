"""The real servers, started once per test session, and names that keep tests apart on them; and
one installation with its worker for all tests of a module, since workers take seconds to start."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from execstream.devstack import Addresses, Stack, start
from tests.names import Names, lent_names
from tests.whole.program import Program
from tests.worker import Installation, Worker, installation

# Path of the stack.json of a stack that runs already: quicker while writing tests.
RUNNING_STACK = "EXECSTREAM_TEST_STACK"

# Processes in a shell's background ignore Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _state() -> Iterator[Path]:
    """A directory that servers may keep things in.

    Not below pytest's own: another session that starts closes that to all but its owner, and as
    root PostgreSQL runs as another user.
    """
    with TemporaryDirectory(prefix="execstream-test-") as directory:
        yield Path(directory)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Takes the place of pytest's."""
    with _state() as state:
        yield state


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Addresses]:
    """The addresses of Kafka, Postgres and Redis; a `Stack` unless the servers are foreign."""
    running = os.environ.get(RUNNING_STACK)
    if running:
        yield Addresses.read(Path(running))
        return
    with _state() as state:
        own = await start(state)
        yield own
        await own.stop()


@pytest.fixture(scope="session")
async def breakable_stack() -> AsyncIterator[Stack]:
    """A stack with servers that a test may kill, if it restarts them."""
    with _state() as state:
        own = await start(state)
        yield own
        await own.stop()


@pytest.fixture
async def names(stack: Addresses) -> AsyncIterator[Names]:
    """Names that only this test uses on the servers of `stack`."""
    async with lent_names(stack) as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Topics and tables of this module's own; modules that need others define them."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as own:
        yield own


@pytest.fixture(scope="module")
async def worker(place: Installation) -> AsyncIterator[Worker]:
    """A worker that applies commands, for as long as the module runs."""
    async with place.worker() as running:
        yield running


@pytest.fixture
def program(place: Installation, tmp_path: Path) -> Program:
    """The program on the topics and tables of the module."""
    return Program(tmp_path, place.settings.environment())


@pytest.fixture
def lost_program(tmp_path: Path) -> Program:
    """The program where nothing is configured."""
    return Program(tmp_path, {})
