"""The figures that the page shows are those of the rows, while something fails and after it."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.fleet import FAULTS, Fault, Fleet, hold_under
from tests.dashboard.page.browser import Tab
from tests.dashboard.page.shown_figures import Page

pytestmark = [pytest.mark.attacks, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
async def page(browser: Tab, fleet: Fleet) -> AsyncIterator[Page]:
    await browser.look()
    own = Page(browser, str(fleet.it.http.base_url).rstrip("/"))
    await own.open()
    yield own
    assert browser.troubles == []
    await browser.open("about:blank")


@pytest.mark.parametrize("fault", [pytest.param(one, id=one.__name__.strip("_")) for one in FAULTS])
async def test_the_page_shows_the_rows(fleet: Fleet, page: Page, fault: Fault) -> None:
    """In every view that has figures; each stays open while a fault begins, or while one ends."""
    figures = page.figures()
    assert len(figures.all()) < 2 * len(FAULTS)
    await hold_under(fault, fleet, figures)
