"""The first view names the culprit of each of six incidents within 30 seconds of its beginning, and
leads to a failed step with its error by two clicks.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from execstream import ExecutionClient
from tests.agents.tallied import counted
from tests.dashboard.incidents import Incidents
from tests.dashboard.page.browser import Tab
from tests.dashboard.serving import serving
from tests.worker import Installation, Worker, until

pytestmark = pytest.mark.browser

WITHIN = 30.0  # seconds from the beginning of the incidents
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.attacks) for seed in (2, 3, 4, 5))]
AT_ONCE = 2_000  # commands


@pytest.fixture
async def tally(place: Installation) -> AsyncIterator[Worker]:
    """A worker that counts."""
    worker = await place.start_worker("tally")

    async def owns() -> bool:
        assert worker.is_alive, worker.log()
        return bool(worker.said("owns"))

    await until(owns)
    yield worker
    await worker.stop()


@pytest.mark.promise
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_first_view_names_the_culprits(
    tab: Tab, place: Installation, sender: ExecutionClient, tally: Worker, seed: int
) -> None:
    """Beside 3 % of failures over 200 blocks; the page is open as the incidents begin."""
    await place.db.execute("truncate graph_execution, run_error, block_minute, alert cascade")
    them = Incidents(seed)
    day = list(them.ordinary())
    for first in range(0, len(day), AT_ONCE):
        await place.put(day[first : first + AT_ONCE])
    await place.drained()
    await place.events()
    await counted(place)
    async with serving(place.settings, sender) as server:
        await tab.look(height=1_400)
        await tab.open(server.url)
        await tab.sees(f"{_rows('Blocks that fail')}.length > 0", 60)

        them.now = datetime.now(UTC)
        await place.put(them.all())

        for panel, culprit in (
            ("Blocks that fail", them.outage_block),
            ("Graphs that fail", f"{them.bad_graph} v{them.bad_version}"),
            ("Errors, new ones first", them.outage_block),
            ("Users whose runs fail", them.bad_user),
            ("Runs that are silent", them.stuck_block),
            ("Spending", them.spender),
        ):
            await tab.sees(f"{_first(panel)}.includes({culprit!r})", _left(them))
        hazard = "document.querySelector('.hazard').innerText"
        await tab.sees(f"{hazard}.includes({them.stranger!r})", _left(them))
        for dark, width in ((True, 1280), (False, 400), (False, 1280)):
            await tab.look(dark=dark, width=width, height=1_400)
            await tab.screenshot(f"incidents-{seed}-{width}-{'dark' if dark else 'light'}")

        for panel, culprit, error in (
            ("Blocks that fail", them.outage_block, "Service Unavailable"),
            ("Graphs that fail", them.bad_graph, "KeyError"),
            ("Users whose runs fail", them.bad_user, "invalid api key"),
        ):
            await _click(tab, f"{_row(panel, culprit)}.querySelector('.figure a')")
            await tab.sees("document.querySelector('tbody .cause')")
            await tab.screenshot(f"incidents-{seed}-runs")
            await _click(tab, "document.querySelector('tbody .cause')")
            shown = "document.querySelector('.drawer').innerText"
            await tab.sees(f"{shown}.includes({error!r})")
            await tab.run("history.go(-2)")
            await tab.sees(f"{_rows(panel)}.length > 0")
        await _click(tab, "document.querySelector('.hazard a')")
        await tab.sees("document.querySelector('[aria-label=\"Dead letters\"] tbody tr')")

        name = f"{them.bad_graph} v{them.bad_version}"
        await tab.open(f"{server.url}/#/graphs")
        row = f"[...document.querySelectorAll('tr')].find(row => row.innerText.includes({name!r}))"
        await tab.sees(f"{row}.querySelector('.rate').innerText === '100%'")
        await tab.sees("document.querySelector('tbody canvas')")
        await tab.look(height=700)
        await tab.screenshot(f"incidents-{seed}-graphs")
        await _click(tab, f"{row}.querySelector('.name')")
        await tab.sees("document.querySelectorAll('[aria-label=Nodes] tbody tr').length === 3")
        await tab.screenshot(f"incidents-{seed}-graph")
        await tab.open("about:blank")


def _rows(panel: str) -> str:
    return f"[...document.querySelectorAll('[aria-label=\"{panel}\"] tbody tr')]"


def _left(them: Incidents) -> float:
    """Seconds until the incidents must have been named."""
    return WITHIN - (datetime.now(UTC) - them.now).total_seconds()


def _first(panel: str) -> str:
    """The text of the first row in colour; of spending, that of users."""
    rows = f"{_rows(panel)}.filter(row => row.matches('.unusual'))"
    if panel == "Spending":
        rows += ".filter(row => row.querySelector('.tag').innerText === 'user')"
    return f"{rows}[0].innerText"


def _row(panel: str, text: str) -> str:
    return f"{_rows(panel)}.find(row => row.innerText.includes({text!r}))"


async def _click(tab: Tab, element: str) -> None:
    await tab.sees(f"Boolean({element})")
    await tab.run(f"{element}.click()")
