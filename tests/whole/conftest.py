"""A broker that authenticates its clients."""

import shutil
from collections.abc import AsyncIterator

import pytest

from tests.secured import SecuredBroker, secured_broker


@pytest.fixture(scope="session")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredBroker]:
    """A broker that wants TLS and a password; skipped where OpenSSL's program is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    async with secured_broker(tmp_path_factory.mktemp("secured")) as own:
        yield own
