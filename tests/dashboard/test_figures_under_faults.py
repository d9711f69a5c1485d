"""No figure differs from the rows by more than its delay, under any fault: they are compared with a
count of the rows while the fault lasts and after it, on servers of our own. What the page shows of
them: `tests/dashboard/page/test_page_figures.py`.
"""

import pytest

from tests.dashboard.fleet import FAULTS, SHORT, Fault, Figures, Fleet, hold_under
from tests.dashboard.registered_figures import OF_ROWS, OF_THE_TALLY, registered

ANSWERS = Figures(OF_ROWS, OF_THE_TALLY, ("BlockFigures", "TopError", "BlockError"))


def test_every_figure_is_compared() -> None:
    """All that are registered as figures over rows, field by field."""
    checks = ANSWERS.all()
    assert {name: set(check.fields.split()) for name, check in checks.items()} == registered()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            fault,
            id=fault.__name__.strip("_"),
            marks=[] if fault is SHORT else pytest.mark.attacks,
        )
        for fault in FAULTS
    ],
)
async def test_figures_are_those_of_the_rows(fleet: Fleet, fault: Fault) -> None:
    """Before, while and after something fails."""
    await hold_under(fault, fleet, ANSWERS)
