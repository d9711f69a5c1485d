"""Every view, bright, dark and narrow; by keyboard; with a token; and the files of the page."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest

from execstream import ExecutionClient, __version__
from execstream.dashboard.app import PAGE
from execstream.dashboard.server import Server
from execstream.streams.outcomes import DeadReason, Refusal
from execstream.streams.topics import COMMANDS, EVENTS
from execstream.streams.totals.error_classes import ErrorClass
from tests.dashboard.page.browser import Tab
from tests.dashboard.serving import SECRET, serving
from tests.orders import Orders
from tests.worker import Installation, Worker, until

pytestmark = pytest.mark.browser

WIDTH = 400  # pixels of a small phone
VIEWS = {
    "now": "Now",
    "runs": "Runs",
    "blocks": "Blocks",
    "graphs": "Graphs",
    "errors": "Errors",
    "costs": "Costs",
    "alerts": "Alerts",
    "recovery": "Recovery",
    "health": "Health",
}
CALM = "document.querySelectorAll('[aria-busy=true]').length === 0"


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


@pytest.fixture
async def run(place: Installation) -> Orders:
    """A run that has failed, with a step that has, a dead letter and a refusal."""
    run = Orders()
    await place.put([run.create(run.node("a"), inputs={"question": "What is six times seven?"})])
    await place.put([run.start(), run.move_step("a", "RUNNING"), run.emit("a", data=[42])])
    await place.put([run.move_step("a", "FAILED", stats={"error": "quota exceeded"})])
    await place.put([run.move("FAILED"), run.move("COMPLETED"), run.raw(b'{"type": "no"}')])
    await place.drained()
    return run


@pytest.mark.parametrize("view", VIEWS)
async def test_every_view_is_readable_in_every_light(
    tab: Tab, server: Server, run: Orders, view: str
) -> None:
    """Wide or as narrow as a phone, bright or dark: no view overflows or complains."""
    for width in (1280, WIDTH):
        for dark in (False, True):
            await tab.look(dark=dark, width=width)
            await tab.open(f"{server.url}/#/{view}")
            await tab.sees(f"document.querySelector('h1')?.innerText === {VIEWS[view]!r} && {CALM}")
            await tab.sees("document.querySelectorAll('table, .empty, .notice').length > 0")
            await _must_fit(tab, dark=dark)
            await tab.screenshot(f"{view}-{width}-{'dark' if dark else 'light'}")


@pytest.mark.slow
async def test_a_run_is_readable_in_every_light(tab: Tab, server: Server, run: Orders) -> None:
    """The same for each tab of a run, with a step beside it."""
    for width in (1280, WIDTH):
        for dark in (False, True):
            await tab.look(dark=dark, width=width)
            for name in ("overview", "story", "journal", "refusals", "children"):
                await tab.open(f"{server.url}/#/runs/{run.run_id}?tab={name}")
                await tab.sees("document.querySelector('#tab :is(.step, table, .empty)')")
                await _must_fit(tab, dark=dark)
                await tab.screenshot(f"run-{name}-{width}-{'dark' if dark else 'light'}")
            await tab.open(f"{server.url}/#/runs/{run.run_id}?step={run.named('a')}")
            await tab.sees("document.querySelector('.drawer').innerText.includes('quota exceeded')")
            await _must_fit(tab, dark=dark)


async def test_tells_its_version(tab: Tab, server: Server) -> None:
    """At the foot of every view."""
    await tab.open(server.url)
    await tab.sees(f"document.querySelector('#version').innerText === 'execstream {__version__}'")


async def test_times_are_in_the_zone_that_is_named(tab: Tab, server: Server, run: Orders) -> None:
    """That of the machine, or UTC, as at the terminal; the choice is kept."""
    await tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    created = "document.querySelector('td[data-label=Created] time')?.innerText"
    zone = "document.querySelector('#zone')"
    try:
        await tab.open(f"{server.url}/#/runs")
        await tab.sees(f"{created}.includes('15:30:01')")
        assert "Asia/Tokyo" in await tab.run(f"{zone}.selectedOptions[0].innerText")
        await tab.run(f"({zone}.value = 'UTC', {zone}.dispatchEvent(new Event('change')))")
        await tab.sees(f"{created}.includes('06:30:01')")
        await tab.open(f"{server.url}/#/runs")
        await tab.sees(f"{created}.includes('06:30:01')")
        await tab.sees(f"{zone}.value === 'UTC'")
    finally:
        await tab.run("localStorage.clear()")
        await tab.call("Emulation.setTimezoneOverride", timezoneId="")


async def _must_fit(tab: Tab, *, dark: bool) -> None:
    assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
    ground = await tab.run("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == dark


async def test_recovery_shows_what_went_wrong(tab: Tab, server: Server, run: Orders) -> None:
    """The dead letter and the refusal are there, and the record can be read."""
    await tab.open(f"{server.url}/#/recovery")
    await tab.sees("document.querySelector('[aria-label=Refusals] td .reason')")

    await tab.sees("(document.querySelector('[aria-label=\"Dead letters\"] details').open = true)")

    await tab.sees("document.querySelector('details').textContent.includes('\"type\": \"no\"')")


async def test_tells_who_works_and_how_far_they_are(tab: Tab, server: Server, run: Orders) -> None:
    """The page shows up to when it is complete, the roles with a worker, and the lag of each."""
    await tab.open(f"{server.url}/#/health")
    await tab.sees("/Complete to .* · 0 gaps/.test(document.querySelector('.verdict').innerText)")
    await tab.sees("document.querySelector('#pulse').innerText.includes('Complete to')")
    await tab.sees(f"{_row('Workers', 'apply')}.includes('alive')")
    await tab.sees(f"{_row('Workers', 'tally')}.includes('no worker')")
    await tab.sees(f"/apply\\t.*\\t8\\t\\d+\\t0\\t/.test({_row('Progress', 'apply')})")

    await tab.open(f"{server.url}/#/recovery")
    await tab.sees(f"{_row('Topics', COMMANDS.name)}.includes('apply 0')")
    await tab.sees(f"{_row('Topics', EVENTS.name)}.includes('bridge 0')")


@pytest.mark.usefixtures("run")
async def test_the_oldest_run_is_a_click_away(
    tab: Tab, place: Installation, server: Server
) -> None:
    """The age of the oldest run that is running leads to it."""
    running = Orders()
    await place.put([running.create(), running.start()])
    await place.put([running.move("RUNNING")])
    await place.drained()
    await tab.open(f"{server.url}/#/health")
    await tab.click("[aria-label='Runs alive'] a[href^='#/runs/']")
    await tab.sees("/^#.runs.[0-9a-f-]{36}$/.test(location.hash)")


async def test_goes_on_without_kafka(
    tab: Tab, place: Installation, sender: ExecutionClient, run: Orders
) -> None:
    """Facts of Kafka are shown as unknown; all else is there."""
    settings = place.settings_with(kafka_bootstrap="127.0.0.1:1")
    async with serving(settings, sender) as cut:
        await tab.open(f"{cut.url}/#/health")
        await tab.sees(
            "/Kafka\\s+away/.test(document.querySelector('[aria-label=Servers]').innerText)"
        )
        await tab.sees(f"{_row('Progress', 'apply')}.includes('unknown')")
        await tab.sees("document.querySelector('[aria-label=\"Runs ended\"] dd').innerText")
        await tab.open("about:blank")
        tab.troubles = [trouble for trouble in tab.troubles if "503" not in trouble]


def _row(table: str, text: str) -> str:
    """The text of the first row of a table that holds the text."""
    rows = f"[...document.querySelectorAll('table[aria-label={table}] tbody tr')]"
    return f"{rows}.map(row => row.innerText).find(row => row.includes('{text}'))"


async def test_blocks_show_failures_as_they_come(
    tab: Tab, server: Server, place: Installation, tally: Worker
) -> None:
    """A block is there with its rate soon after a step of it failed, and leads to the error and its
    run.
    """
    await tab.open(f"{server.url}/#/blocks")
    await tab.sees("document.querySelector('.line').dataset.state === 'live'")
    run = Orders()
    now = {"at": datetime.now(UTC).isoformat()}

    await place.put([run.create(run.node("a", block_id="brittle"), **now), run.start(**now)])
    error = {"error": "429: quota exceeded for key 0b5f3a52-9d5f-4e2e-a6ad-3c1d3a0f2b11"}
    await place.put([run.move_step("a", to, stats=error, **now) for to in ("RUNNING", "FAILED")])

    await tab.sees("document.querySelector('a[href=\"#/blocks/brittle\"]')")
    await tab.sees("document.querySelector('tbody .rate').innerText === '100%'")
    await tab.sees("document.querySelector('tbody canvas')")
    await tab.click("a[href='#/blocks/brittle']")
    await tab.sees("document.querySelector('.chart canvas')")
    await tab.shows("quota exceeded")
    await tab.screenshot("block")
    await tab.click("[aria-label^=Failed] a code")
    await tab.sees(f"location.hash.startsWith('#/runs/{run.run_id}')")
    await tab.sees("document.querySelector('.drawer').innerText.includes('quota exceeded')")


async def test_failed_steps_by_the_time_they_show(
    tab: Tab, server: Server, place: Installation, tally: Worker
) -> None:
    """The step that was added last comes first, though it was sent first; a step that failed with
    a child run links to that.
    """
    new, old, child = Orders(), Orders(), Orders()
    failing = {"error": "its run failed", "child_graph_exec_id": child.run_id}
    for run, minutes, stats in ((new, 0, {"error": "boom"}), (old, 5, failing)):
        at = {"at": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()}
        await place.put([run.create(run.node("a", block_id="twice"), **at), run.start(**at)])
        await place.put([run.move_step("a", to, stats=stats, **at) for to in ("RUNNING", "FAILED")])
    await tab.open(f"{server.url}/#/blocks")

    await tab.click("a[href='#/blocks/twice']")

    links = "[...document.querySelectorAll('[aria-label=\"Failed steps\"] a')].map(a => a.hash)"
    await tab.sees(f"{links}.length === 3")
    steps = [f"#/runs/{run.run_id}?step={run.named('a')}" for run in (new, old)]
    assert await tab.run(links) == [*steps, f"#/runs/{child.run_id}"]


@pytest.mark.parametrize("block_id", ["live", ".."])
async def test_a_block_may_have_any_id(
    tab: Tab, server: Server, place: Installation, tally: Worker, block_id: str
) -> None:
    """The view works for a block with an id that is a word of the API, or leads elsewhere in a
    path.
    """
    run = Orders()
    now = {"at": datetime.now(UTC).isoformat()}
    await place.put([run.create(run.node("a", block_id=block_id), **now), run.start(**now)])
    error = {"error": f"trouble of {block_id}"}
    await place.put([run.move_step("a", to, stats=error, **now) for to in ("RUNNING", "FAILED")])
    await tab.open(f"{server.url}/#/blocks")

    await tab.click(f"a[href='#/blocks/{block_id}']")

    await tab.sees("document.querySelector('.chart canvas')")
    await tab.sees("document.querySelector('[aria-label^=Failed] a code')")
    await tab.shows(f"trouble of {block_id}")


async def test_can_be_used_by_keyboard(tab: Tab, server: Server, run: Orders) -> None:
    """Tab and Enter lead from the top of the page into a run, a step, and out of it again."""
    await tab.open(f"{server.url}/#/runs?status=FAILED")
    await tab.sees("document.querySelector('tbody a')")
    seen = set()
    for _ in range(40):
        await tab.press("Tab")
        seen.add(await tab.run("document.activeElement.className || document.activeElement.id"))
        if await tab.run("document.activeElement.matches('tbody .name')"):
            break
    assert {"skip", "brand", "counter", "filter-user_id"} <= seen

    await tab.press("Enter")

    await tab.sees("document.querySelector('.step')")
    await tab.run("document.querySelector('.step').focus()")
    await tab.press("Enter")
    await tab.sees("document.activeElement.matches('.drawer')")
    await tab.press("Escape")
    await tab.sees("document.querySelector('.drawer').hidden")
    await tab.run("document.querySelector('[role=tab][aria-selected=true]').focus()")
    await tab.press("ArrowRight")
    await tab.sees("location.hash.includes('tab=story')")


async def test_asks_for_the_token(
    tab: Tab, place: Installation, sender: ExecutionClient, run: Orders
) -> None:
    """A server with a token shows nothing before it has it; afterwards the feed is live, too."""
    settings = place.settings_with(http_token=SECRET)
    async with serving(settings, sender) as closed:
        await tab.open(f"{closed.url}/#/runs/{run.run_id}")
        await tab.sees("document.querySelector('#token')")

        await tab.run(f"document.querySelector('#token').value = {SECRET!r}")
        await tab.click(".token button")

        await tab.sees("document.querySelector('.step')")
        await tab.run("sessionStorage.clear()")
        tab.troubles = [trouble for trouble in tab.troubles if "401" not in trouble]
        await tab.open("about:blank")


async def test_token_of_a_user(
    tab: Tab, place: Installation, sender: ExecutionClient, run: Orders
) -> None:
    """It leads to no view of figures over all users, and reports no server as unavailable."""
    settings = place.settings_with(http_token=f"{SECRET}={run.user_id}")
    async with serving(settings, sender) as closed:
        await tab.open(f"{closed.url}/#/health")
        await tab.sees("document.querySelector('#token')")
        await tab.run(f"document.querySelector('#token').value = {SECRET!r}")
        await tab.click(".token button")

        await tab.sees(f"document.querySelector('[title=\"{run.run_id}\"]')")
        assert await tab.run("[...document.querySelectorAll('#nav a')].map(a => a.innerText)") == [
            "Runs"
        ]
        assert await tab.run("location.hash") == "#/runs"
        assert "away" not in await tab.run("document.body.innerText")
        await tab.run("sessionStorage.clear()")
        assert [one for one in tab.troubles if "401" not in one] == []
        tab.troubles.clear()
        await tab.open("about:blank")


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "runs"])
async def test_navigating_while_the_server_is_away(
    tab: Tab, server: Server, run: Orders, view: str
) -> None:
    """The view comes when the server is back, without a click or a reload by hand."""
    await tab.open(f"{server.url}/#/runs")
    await tab.sees(f"document.querySelector('[title=\"{run.run_id}\"]')")
    await tab.go_offline(offline=True)
    try:
        await tab.click("#nav a", VIEWS[view])
        await tab.shows("The server does not answer.")
    finally:
        await tab.go_offline(offline=False)

    await tab.sees(f"document.querySelector('h1').innerText === {VIEWS[view]!r}")
    await tab.sees("!document.body.innerText.includes('The server does not answer.')")
    tab.troubles.clear()  # the browser counts every request that failed


def test_is_made_of_nothing_but_modules() -> None:
    """No markup out of text, no inline script or style, nothing from elsewhere."""
    for file in _sources("*.js"):
        text = file.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
            assert word not in text, f"{file}: {word}"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
    for file in _sources("*.html"):
        text = file.read_text()
        assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|https?://", text)


@pytest.mark.parametrize(
    ("file", "name", "reasons"),
    [
        ("recovery.js", "DEAD", DeadReason),
        ("recovery.js", "REFUSED", Refusal),
        ("run_filters.js", "CLASSES", ErrorClass),
    ],
)
def test_reasons(file: str, name: str, reasons: type[StrEnum]) -> None:
    """The filters are the existing reasons, and classes of errors."""
    text = (PAGE / "views" / file).read_text()
    [listed] = re.findall(
        rf"^(?:export )?const {name} = \[(.*?)\];", text, re.DOTALL | re.MULTILINE
    )
    assert re.findall(r'"(\w+)"', listed) == list(reasons)


def _sources(pattern: str) -> list[Path]:
    return [file for file in PAGE.rglob(pattern) if "vendor" not in file.parts]
