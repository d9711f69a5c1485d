"""Every view, checked by axe-core for what people with other senses and hands would miss."""

import os
from pathlib import Path

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import Tab
from tests.dashboard.page.page_tools import MODULES, missing_tools
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.browser

AXE = MODULES / "axe-core" / "axe.min.js"
VIEWS = (
    *(
        "now",
        "runs",
        "blocks",
        "graphs",
        "errors",
        "costs",
        "alerts",
        "recovery",
        "health",
        "audit",
    ),
)
TABS = ("overview", "story", "journal", "refusals", "children")
CALM = "document.querySelectorAll('[aria-busy=true]').length === 0"
FAULTS = """axe.run(document, {resultTypes: ['violations']})
    .then(({violations}) => violations.flatMap(({id, nodes}) =>
        nodes.map(({html, failureSummary}) => `${id}: ${html.slice(0, 160)} ${failureSummary}`)))"""


@pytest.fixture(scope="module")
def axe() -> Path:
    """The program. Without it tests are skipped, and in CI they fail."""
    if reason := missing_tools():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return AXE


@pytest.fixture
async def run(place: Installation) -> Orders:
    """A run that has failed, with a step that has, a dead letter and a refusal."""
    run = Orders()
    text = "a long text " * 50
    await place.put([run.create(run.node("a", inputs={"text": text}), inputs={"question": text})])
    await place.put([run.start(), run.move_step("a", "RUNNING"), run.emit("a", data=[42])])
    await place.put([run.move_step("a", "FAILED", stats={"error": "quota exceeded"})])
    await place.put([run.move("FAILED"), run.move("COMPLETED"), run.raw(b'{"type": "no"}')])
    await place.drained()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_no_view_has_a_fault(
    tab: Tab, server: Server, run: Orders, axe: Path, dark: bool
) -> None:
    """Each view, each tab of a run, a step beside it, a block, and a share link that has ended."""
    await tab.look(dark=dark)
    of_run = f"#/runs/{run.run_id}"
    places = [f"#/{view}" for view in VIEWS]
    places += [f"{of_run}?tab={name}" for name in TABS]
    places += [f"{of_run}?step={run.named('a')}", "#/blocks/block-1", "shared.html#none"]
    found: list[str] = []
    for place in places:
        await tab.open(f"{server.url}/{place}")
        await tab.sees(f"document.querySelector('h1')?.innerText && {CALM}")
        await tab.sees("document.querySelector('.step, table, .empty, .notice, .facts, .drawer')")
        await tab.run(axe.read_text(encoding="utf-8"))
        found += [f"{place}: {fault}" for fault in await tab.run(FAULTS)]
    tab.troubles = [trouble for trouble in tab.troubles if "404" not in trouble]
    assert not found, "\n".join(found)
