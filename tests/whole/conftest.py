"""One installation and one worker for all tests of a module: workers take seconds to start."""

import shutil
from collections.abc import AsyncIterator

import pytest

from devstack import Addresses
from tests.secured import SecuredBroker, secured_broker
from tests.worker import Installation, Worker, installation


@pytest.fixture(scope="module")
async def place(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Topics and tables of this module's own."""
    async with installation(stack, tmp_path_factory.mktemp("logs")) as own:
        yield own


@pytest.fixture(scope="module")
async def worker(place: Installation) -> AsyncIterator[Worker]:
    """A worker that applies what comes, for as long as the module runs."""
    async with place.worker() as running:
        yield running


@pytest.fixture(scope="session")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredBroker]:
    """A broker that wants TLS and a password; skipped where OpenSSL's program is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    async with secured_broker(tmp_path_factory.mktemp("secured")) as own:
        yield own
