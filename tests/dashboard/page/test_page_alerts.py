"""Alerts, in a real browser: above every view, in their list, and acts on them."""

from uuid import uuid4

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import Tab
from tests.dashboard.raising import closed, raised
from tests.worker import Installation

pytestmark = pytest.mark.browser

ALARM = "document.querySelector('#alarm')"
NAV = "document.querySelector('[data-view=alerts]')"


async def test_an_alert_is_seen_everywhere_until_somebody_acts(
    tab: Tab, server: Server, place: Installation
) -> None:
    """It appears above the open view and in the list; is acknowledged, silenced, and over."""
    await place.db.execute("truncate alert cascade")
    block = f"block-{uuid4().hex[:6]}"
    await tab.open(f"{server.url}/#/runs")
    await tab.sees(f"{NAV} && {ALARM}.hidden")

    alert = await raised(place.db, block)

    await tab.sees(f"{ALARM}.innerText.includes('10 of 20 steps failed within 2 minutes')")
    await tab.sees(f"{NAV}.innerText.includes('1')")
    await tab.look(width=400)
    assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
    await tab.screenshot("alarm-400")
    await tab.look()
    await tab.click("#alarm a")
    await tab.sees("document.querySelector('[aria-label=Open] tbody').innerText.includes('new')")
    await tab.screenshot("alerts-open")

    await tab.click("[aria-label=Open] button", "Acknowledge")

    await tab.sees("document.querySelector('[aria-label=Open] tbody').innerText.includes('seen')")
    await tab.sees(f"{ALARM}.hidden")

    await tab.click("[aria-label=Open] button", "Silence 1 hour")

    await tab.sees(
        "document.querySelector('[aria-label=Open] tbody').innerText.includes('silent until')"
    )
    await closed(place.db, alert)
    await tab.sees("document.querySelector('[aria-label=Over] tbody').innerText.includes('over')")
    await tab.shows("No alert is open.")


async def test_deliveries_of_the_webhook_are_listed(
    tab: Tab, server: Server, place: Installation
) -> None:
    """Delivered ones, those that are tried again, and those given up, with the last error."""
    runs = [uuid4() for _ in range(3)]
    await place.db.execute(
        """insert into run_message (graph_exec_id, seq, status, graph_id, user_id, dry_run,
                  ended_at, at, next_try_at, tries, delivered_at, last_error)
           values ($1, 4, 'COMPLETED', 'g', 'ada', false, now(), now(), null, 1, now(), null),
                  ($2, 4, 'FAILED', 'g', 'ada', false, now(), now() - interval '1 minute',
                   now() + interval '1 hour', 3, null, 'HTTP 503'),
                  ($3, 4, 'FAILED', 'g', 'ada', false, now(), now() - interval '2 days',
                   now() - interval '1 day', 99, null, 'TimeoutError')""",
        *runs,
    )
    await tab.open(f"{server.url}/#/alerts")

    rows = "document.querySelectorAll('[aria-label=Webhook] tbody tr')"
    await tab.sees(f"{rows}.length === 3")
    shown = [await tab.run(f"{rows}[{number}].innerText") for number in range(3)]

    assert "COMPLETED" in shown[0]
    assert "delivered" in shown[0]
    assert "HTTP 503; next try" in shown[1]
    assert "given up after 24 h: TimeoutError" in shown[2]
    assert await tab.run(f"{rows}[1].querySelector('a').hash") == f"#/runs/{runs[1]}"
    await tab.screenshot("deliveries")
