"""The real servers, started once per test session, and names that keep tests apart on them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack import Addresses, Stack, start
from tests.names import Names, lent_names

# Path of the stack.json of a stack that runs already: quicker while writing tests.
RUNNING_STACK = "EXECSTREAM_TEST_STACK"


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    """Where Kafka, Postgres and Redis answer; a `Stack` unless it is somebody else's."""
    running = os.environ.get(RUNNING_STACK)
    if running:
        yield Addresses.read(Path(running))
        return
    own = await start(tmp_path_factory.mktemp("stack"))
    yield own
    await own.stop()


@pytest.fixture(scope="session")
async def breakable_stack(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack whose servers a test may kill, if it restarts them: never somebody else's."""
    if isinstance(stack, Stack):
        yield stack
        return
    own = await start(tmp_path_factory.mktemp("breakable"))
    yield own
    await own.stop()


@pytest.fixture
async def names(stack: Addresses) -> AsyncIterator[Names]:
    """Names that only this test uses on the servers of `stack`."""
    async with lent_names(stack) as fresh:
        yield fresh
