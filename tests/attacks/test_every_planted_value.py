"""Every unreadable value, in every column, and every reader; see
`tests/dashboard/test_planted_rows.py`.
"""

from collections.abc import AsyncIterator

import pytest

from execstream.storage.schema.tables import JOURNAL, RUNS, STEPS
from tests.exploring import IS_LONG
from tests.planted_reads import READS, SLOW, everything_failing, tried
from tests.planted_site import Site, planted_site
from tests.planting import large_plants, plants
from tests.worker import Installation

OF_RUNS = (RUNS, STEPS, JOURNAL)  # which reads of a run read together
pytestmark = [pytest.mark.attacks, pytest.mark.timeout(1_500)]


@pytest.fixture(scope="module")
async def planting(place: Installation) -> AsyncIterator[Site]:
    async with planted_site(place) as site:
        assert await everything_failing(site, leaving_out=()) == []
        yield site


async def test_every_value(planting: Site) -> None:
    """Nulls, other types, the deepest, the longest numbers, far times and unknown statuses."""
    everything = await plants(planting.place.db)
    trial = await tried(planting, everything, each_alone=OF_RUNS, leaving_out=SLOW)
    print(f"\n{trial}")
    assert not trial.wrong, "\n".join(trial.wrong)
    assert trial.combinations > 0.8 * len(everything)


async def test_values_of_40_megabytes(planting: Site) -> None:
    """Documents and texts that are larger than any command, one in each table at a time, and every
    read but those of commands, which print what the same functions return.
    In short of the tables of runs alone; `HYPOTHESIS_PROFILE=long` has all.
    """
    everything = [
        plant
        for plant in await large_plants(planting.place.db)
        if IS_LONG or plant.table in OF_RUNS
    ]
    trial = await tried(planting, everything, leaving_out=tuple(READS))
    print(f"\n{trial}")
    assert not trial.wrong, "\n".join(trial.wrong)
    assert trial.combinations > 0.4 * len(everything)
