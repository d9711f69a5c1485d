"""Costs by day and errors by hour, in a real browser: figures lead to the runs behind them."""

from datetime import UTC, datetime

import pytest

from execstream.dashboard.server import Server
from tests.agents.tallied import counted
from tests.dashboard.page.browser import Tab
from tests.orders import Orders
from tests.worker import Installation, until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("worker")]


@pytest.fixture
async def spent(place: Installation) -> None:
    """Two runs of a spender, of which one failed."""
    tally = await place.start_worker("tally")

    async def owns() -> bool:
        return bool(tally.said("owns"))

    await until(owns)
    now = {"at": datetime.now(UTC).isoformat()}
    for status in ("COMPLETED", "FAILED"):
        run = Orders(user_id="spender")
        await place.put([run.create(run.node("a", block_id="dear"), graph_id="costs", **now)])
        stats = {"cost": 250} | ({"error": "503 Service Unavailable"} if status == "FAILED" else {})
        await place.put(
            [
                run.start(**now),
                run.move_step("a", "RUNNING", **now),
                run.move_step("a", status, stats=stats, **now),
                run.move(status, **now),
            ]
        )
    await place.drained()
    await place.events()
    await counted(place)
    await tally.stop()


async def _look(tab: Tab, name: str) -> None:
    for width, dark in ((1280, False), (400, False), (1280, True)):
        await tab.look(width=width, dark=dark)
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
        await tab.screenshot(f"{name}-{width}{'-dark' if dark else ''}")
    await tab.look()


async def test_costs_and_errors_lead_to_runs(tab: Tab, server: Server, spent: None) -> None:
    """A cost to all runs of the spender, a failure to the run that failed so."""
    await tab.open(f"{server.url}/#/costs")
    await tab.sees("document.querySelector('[aria-label=Costs]').innerText.includes('spender')")
    await tab.shows("$5.00")
    await _look(tab, "costs")
    await tab.click("[aria-label=Costs] td.figure a", "$5.00")
    await tab.sees("document.querySelectorAll('tr[data-id]').length === 2")

    await tab.open(f"{server.url}/#/costs?by=day")
    await tab.click("[aria-label=Costs] td.figure a", "$5.00")
    await tab.sees("document.querySelectorAll('tr[data-id]').length === 2")

    await tab.open(f"{server.url}/#/errors")
    await tab.sees("document.querySelector('[aria-label=Errors]').innerText.includes('dear')")
    await _look(tab, "errors")
    await tab.click("[aria-label=Errors] td.figure a", "1")
    await tab.sees("document.querySelectorAll('tr[data-id]').length === 1")
    await tab.shows("503 Service Unavailable")
