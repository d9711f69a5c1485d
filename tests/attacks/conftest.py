"""An installation under attack, for all tests of a module."""

from collections.abc import AsyncIterator

import pytest

from execstream.devstack import Addresses
from tests.attacks.target import Target, table, target
from tests.worker import installation


@pytest.fixture(scope="module")
async def under_attack(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    async with installation(stack, tmp_path_factory.mktemp("logs")) as place, target(place) as own:
        yield own
    print("\n" + table(own.findings))
