"""The list of runs, in a real browser: counters, filters, pages, and new runs."""

from uuid import uuid4

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import Tab
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.browser

ROWS = "document.querySelectorAll('tbody tr').length"

READS = (
    "performance.getEntriesByType('resource')"
    ".filter(one => one.name.includes('/v1/executions?')).length"
)

_MANY = """
insert into graph_execution (id, user_id, graph_id, graph_version, status, dry_run, is_deleted,
    is_shared, created_at, started_at, ended_at, updated_at, last_seq, source_partition, stats)
select gen_random_uuid(), 'user-' || i % 1000, 'graph-' || i % 50, 1,
    (array['COMPLETED', 'FAILED', 'RUNNING', 'TERMINATED'])[1 + i % 4], false, false, false,
    at, at, at, at, 1, i % 8, '{"cost": 12, "node_count": 7, "walltime": 2.5}'
  from (select i, timestamptz '2026-01-01' + i * interval '1 second' as at
          from generate_series(1, 100000) i) many
"""


def _owner() -> str:
    return f"owner-{uuid4().hex[:8]}"


async def test_filters_by_status_and_keeps_the_filter_in_the_address(
    tab: Tab, server: Server, place: Installation
) -> None:
    """A click on a counter leaves only runs of that status, and a reload does not change that."""
    owner = _owner()
    failed, running = Orders(user_id=owner), Orders(user_id=owner)
    await place.put([failed.create(), failed.move("FAILED"), running.create(), running.start()])
    await place.drained()
    await tab.open(f"{server.url}/#/runs?user_id={owner}")
    await tab.sees(f"{ROWS} === 2")
    await tab.sees("document.querySelector('.counter[data-status=FAILED] b').innerText === '1'")

    await tab.click(".counter[data-status=FAILED]")

    await tab.sees(f"{ROWS} === 1 && document.querySelector('tbody .pill').innerText === 'Failed'")
    assert "status=FAILED" in await tab.run("location.hash")
    await tab.open(await tab.run("location.href"))
    await tab.sees(f"{ROWS} === 1")


async def test_pages_by_key(tab: Tab, server: Server, place: Installation) -> None:
    """The next page goes on where the first ends, nothing twice, and "back" returns to it."""
    owner = _owner()
    await place.put([Orders(user_id=owner).create() for _ in range(60)])
    await place.drained()
    await tab.open(f"{server.url}/#/runs?user_id={owner}")
    await tab.sees(f"{ROWS} === 50")
    ids = "[...document.querySelectorAll('tbody tr')].map(row => row.dataset.id)"
    first = await tab.run(ids)

    await tab.click("a[rel=next]")

    await tab.sees(f"{ROWS} === 10")
    assert len({*first, *await tab.run(ids)}) == 60
    await tab.run("history.back()")
    await tab.sees(f"{ROWS} === 50")
    assert await tab.run(ids) == first


async def test_new_runs_wait_behind_a_button(tab: Tab, server: Server, place: Installation) -> None:
    """A run that is created while one looks moves no row; those that are shown move on."""
    owner = _owner()
    old, new = Orders(user_id=owner), Orders(user_id=owner)
    await place.put([old.create()])
    await place.drained()
    await tab.open(f"{server.url}/#/runs?user_id={owner}")
    await tab.sees(f"{ROWS} === 1 && document.querySelector('.line').dataset.state === 'live'")
    await tab.sees(f"{READS} >= 2 && !document.querySelector('.list').ariaBusy")  # as of the feed

    await place.put([new.create(), old.start()])

    await tab.sees("document.querySelector('.fresh:not([hidden])')?.innerText === '1 new'")
    await tab.sees("document.querySelector('tbody .pill').innerText === 'Running'")
    await tab.sees("document.querySelector('.counter[data-status=RUNNING] b').innerText === '1'")
    assert await tab.run(ROWS) == 1
    await tab.click(".fresh")
    await tab.sees(f"{ROWS} === 2 && document.querySelector('.fresh').hidden")


async def test_steps_that_a_producer_reports_otherwise(
    tab: Tab, server: Server, place: Installation
) -> None:
    """The list shows the stored steps, and beside them a report that differs."""
    owner = _owner()
    for reported in ({"node_count": 1, "node_error_count": 0}, {"node_count": 5}):
        run = Orders(user_id=owner)
        await place.put([run.create(run.node("a")), run.start()])
        await place.put([run.move_step("a", to) for to in ("RUNNING", "COMPLETED")])
        await place.put([run.move("COMPLETED", stats=reported)])
    await place.drained()

    await tab.open(f"{server.url}/#/runs?user_id={owner}")

    cells = "[...document.querySelectorAll('[data-label=Steps]')].map(one => one.textContent)"
    await tab.sees(f"{cells}.sort().join() === '1,1 (reported: 5 steps, 0 errors)'")


async def test_shows_the_first_page_of_many_runs(
    tab: Tab, server: Server, place: Installation
) -> None:
    """With 100,000 runs in the database, the page has its first rows, and counts them all. How soon
    it has them is measured by bench/browser.py."""
    await place.db.execute(_MANY)
    await place.db.execute("analyze graph_execution")
    await tab.open("about:blank")

    await tab.open(f"{server.url}/#/runs")

    await tab.sees(f"{ROWS} === 50")
    await tab.sees("document.querySelector('.counter').title.startsWith('100,')")
    await tab.screenshot("runs-100000")
