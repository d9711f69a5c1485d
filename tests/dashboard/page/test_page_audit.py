"""The audit, in a real browser: its rows, its filters, and its export."""

import pytest

from execstream.dashboard.server import Server
from execstream.storage.access.audit_log import Act, Author, record_acts
from tests.dashboard.page.browser import Tab
from tests.worker import Installation

pytestmark = pytest.mark.browser

ROWS = "document.querySelectorAll('.view-audit tbody tr').length"


async def test_acts_are_listed_filtered_and_exported(
    tab: Tab, server: Server, place: Installation
) -> None:
    """More than a page of them: the list goes on, and the export has all."""
    await place.db.execute("truncate audit")
    acts = [Act("alert.silence", str(number), "<b>done</b>") for number in range(119)]
    await record_acts(place.db, Author("grace", None, "192.0.2.1"), acts)
    await record_acts(place.db, Author("ada", None, "192.0.2.2"), [Act("forget", "one", "done")])
    await tab.open(f"{server.url}/#/now")
    await tab.click("[data-view=audit]")
    await tab.sees(f"{ROWS} === 50")
    await tab.shows("192.0.2.2")
    await tab.shows("<b>done</b>")
    await tab.look(width=400)
    assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
    await tab.screenshot("audit-400")
    await tab.look()
    await tab.screenshot("audit")
    await tab.click(".view-audit button", "Show more")
    await tab.sees(f"{ROWS} === 100")
    await tab.run(KEEP)
    await tab.click(".view-audit button", "Export")
    await tab.sees("self.exported?.trim().split('\\n').map(JSON.parse).length === 120")

    await tab.open(f"{server.url}/#/audit?act=forget")
    await tab.sees(f"{ROWS} === 1")
    await tab.shows("ada")


# The text of the file that is saved.
KEEP = """
URL.createObjectURL = (blob) => {
  blob.text().then((text) => { self.exported = text; });
  return "blob:none";
};
HTMLAnchorElement.prototype.click = () => {};
"""
