"""Actions on many runs, in a real browser: the number first, then the outcome of each."""

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import Tab
from tests.orders import Orders
from tests.worker import Installation

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("worker")]

DIALOG = "document.querySelector('dialog')"


async def test_runs_of_a_filtered_list_are_terminated(
    tab: Tab, server: Server, place: Installation
) -> None:
    """Only a filtered list offers it; the list shows the new status afterwards."""
    for number in range(3):
        orders = Orders()
        attributes = {"release": "r7", "tenant": f"t{number}"}
        await place.put([orders.create(graph_id="bulk-page", attributes=attributes)])
        await place.put([orders.start()])
    await place.drained()
    await tab.open(f"{server.url}/#/runs")
    await tab.sees("document.querySelector('tr[data-id]')")
    assert await tab.run("document.querySelector('.bulk') === null")

    await tab.open(f"{server.url}/#/runs?attribute=release%3Dr7")
    await tab.sees("document.querySelectorAll('tr[data-id]').length === 3")
    await tab.click(".bulk summary")
    await tab.screenshot("runs-bulk")
    await tab.look(width=400)
    assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
    await tab.screenshot("runs-bulk-400")
    await tab.look()
    await tab.click(".bulk button", "Terminate")
    await tab.sees(f"{DIALOG}.innerText.includes('Terminate 3 runs?')")
    await tab.screenshot("bulk-question")
    await tab.click("dialog button", "Terminate 3")
    await tab.sees(f"{DIALOG}.innerText.includes('3 applied')")
    await tab.screenshot("bulk-outcomes")
    await tab.click("dialog button", "Done")

    await tab.sees("document.querySelectorAll('tr [data-status=TERMINATED]').length >= 3")
    assert tab.troubles == []


async def test_dead_letters_of_a_reason_are_redriven(
    tab: Tab, server: Server, place: Installation
) -> None:
    """Each has its outcome: they fail again."""
    await place.put([Orders().raw(b"[") for _ in range(2)])
    await place.drained()
    await tab.open(f"{server.url}/#/recovery?dead=not_json")
    await tab.click("button", "Redrive all of these")
    await tab.sees(f"{DIALOG}.innerText.includes('Redrive 2 records?')")
    await tab.click("dialog button", "Redrive 2")
    await tab.sees(f"{DIALOG}.innerText.includes('2 dead')")
    await tab.click("dialog button", "Done")
    await tab.sees("document.querySelectorAll('[aria-label=\"Dead letters\"] tr').length >= 5")
