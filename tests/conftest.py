"""The real servers, started once per test session, and names that keep tests apart on them."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devstack import Addresses, Stack, start
from tests.names import Names, lent_names

# Path of the stack.json of a stack that runs already: quicker while writing tests.
RUNNING_STACK = "EXECSTREAM_TEST_STACK"


@contextmanager
def _state() -> Iterator[Path]:
    """A directory that servers may keep things in.

    Not below pytest's own: another session that starts closes that to all but its owner, and
    as root PostgreSQL runs as somebody else.
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
    """Where Kafka, Postgres and Redis answer; a `Stack` unless it is somebody else's."""
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
    """A stack whose servers a test may kill, if it restarts them."""
    with _state() as state:
        own = await start(state)
        yield own
        await own.stop()


@pytest.fixture
async def names(stack: Addresses) -> AsyncIterator[Names]:
    """Names that only this test uses on the servers of `stack`."""
    async with lent_names(stack) as fresh:
        yield fresh
