"""A stored row that cannot be read affects its run alone, for any content and any reader.

One value of each column; all of them: `tests/attacks/test_every_planted_value.py`.
"""

from collections.abc import AsyncIterator

import pytest

from tests.planted_reads import SLOW, WITH_KAFKA, address, everything_failing, routes, tried
from tests.planted_site import Site, planted_site
from tests.planting import one_of_each, plants
from tests.worker import Installation

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def planting(place: Installation) -> AsyncIterator[Site]:
    async with planted_site(place) as site:
        yield site


async def test_nothing_planted(planting: Site) -> None:
    """Every read finds both runs while no row is changed."""
    paths = await routes(planting.http)
    assert len(paths) > 20
    assert await everything_failing(planting, leaving_out=()) == []
    for of in planting.subjects.values():
        for path, names in paths:
            if "graph_exec_id" in path:
                url, query = address(path, names, of)
                assert (await planting.http.get(url, params=query)).status_code == 200, url


async def test_planted_values(planting: Site) -> None:
    """Reads about others answer, and reads of the run answer or name `verify`."""
    chosen = one_of_each(await plants(planting.place.db))
    trial = await tried(planting, chosen, leaving_out=(*SLOW, *WITH_KAFKA))
    print(trial)
    assert not trial.wrong, "\n".join(trial.wrong)
    assert trial.combinations > 0.75 * len(chosen)  # constraints refuse the others
