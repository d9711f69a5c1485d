"""A run of 10,000 steps, in a real browser: its failed steps come first, and all are in reach."""

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import Tab
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.browser

STEPS = 10_000
STARTING = 1_000  # of one command
MOST_ROWS = 200  # in the document
ROWS = "[...document.querySelectorAll('.step')]"
FIRST = f"{ROWS}[0].innerText"


@pytest.fixture(scope="module")
async def run(place: Installation) -> Orders:
    """A failed run in which one step of ten nodes failed, the last one of all among them."""
    run = Orders()
    names = [f"s{number}" for number in range(STEPS)]
    about = [
        {"node_id": f"node-{number % 40}", "block_id": f"block-{number % 40}"}
        for number in range(STEPS)
    ]
    nodes = [run.node(name, **one) for name, one in zip(names, about, strict=True)]
    await place.put([run.create(*nodes[:STARTING]), run.start()])
    later = zip(names[STARTING:], about[STARTING:], strict=True)
    await place.put([run.give(name, **one) for name, one in later])
    failed = [*(f"s{number}" for number in range(1_000, STEPS, 1_000)), names[-1]]
    for first in range(0, STEPS, 1_000):
        await place.put([run.move_steps(names[first : first + 1_000], "RUNNING")])
    for name in failed:
        await place.put([run.move_step(name, "FAILED", stats={"error": f"trouble of {name}"})])
    rest = [name for name in names if name not in failed]
    for first in range(0, len(rest), 1_000):
        await place.put([run.move_steps(rest[first : first + 1_000], "COMPLETED")])
    await place.put([run.move("FAILED")])
    await place.drained()
    return run


@pytest.mark.slow
async def test_steps_of_a_long_run(tab: Tab, server: Server, run: Orders) -> None:
    """Failed ones are first, alone, or found by their error; the last one is a scroll away."""
    await tab.open(f"{server.url}/#/runs/{run.run_id}")
    await tab.sees(f"{FIRST}.includes('Failed')", 60)
    await tab.shows("10,000 steps, 10 failed")
    assert await tab.run(f"{ROWS}.length") < MOST_ROWS
    await tab.sees("document.querySelector('.node.failing .hint').innerText === '9 of 250'")
    await tab.screenshot("long-run")

    await _choose(tab, "only")
    await tab.sees(f"{ROWS}.length === 10")

    await _choose(tab, "all")
    await tab.sees(f"{FIRST}.includes('Completed')")
    await tab.run("document.querySelector('.timeline').scrollTop = 1e9")
    await tab.sees(f"{ROWS}.at(-1).dataset.id === {run.named(f's{STEPS - 1}')!r}")
    assert await tab.run(f"{ROWS}.length") < MOST_ROWS

    await tab.run(
        "(field => (field.value = 'trouble of s3000', field.dispatchEvent(new Event('input'))))"
        "(document.querySelector('.tools input'))"
    )
    await tab.sees(f"{ROWS}.length === 1 && {ROWS}[0].dataset.id === {run.named('s3000')!r}")
    await tab.click(".step")
    await tab.sees("document.querySelector('.drawer').innerText.includes('trouble of s3000')")


async def test_a_moment_of_a_run(tab: Tab, server: Server, place: Installation) -> None:
    """The slider shows the steps as they were, and the run as it moves at its end."""
    run = Orders()
    await place.put([run.create(run.node("a")), run.start(), run.move_step("a", "RUNNING")])
    await place.put([run.emit("a", data="six"), run.move_step("a", "COMPLETED")])
    await place.put([run.move("COMPLETED")])
    await place.drained()
    await tab.open(f"{server.url}/#/runs/{run.run_id}")
    await tab.sees(f"{FIRST}.includes('Completed')")

    await _slide(tab, 500)
    await tab.sees(f"{FIRST}.includes('Running')")
    await tab.sees("document.querySelector('.moment').innerText.includes('as of')")
    await tab.sees("document.querySelector('.run-head .pill').innerText === 'Completed'")
    await tab.sees("document.querySelector('.changes').innerText.includes('output_data.out')")
    await tab.screenshot("run-changes")

    await _slide(tab, 1_000)
    await tab.sees(f"{FIRST}.includes('Completed')")
    await tab.sees("document.querySelector('.changes').hidden")
    await tab.click("[data-tab=story]")
    await tab.sees("document.querySelector('#tab').innerText.includes('is COMPLETED')")
    await tab.screenshot("run-story")


async def _slide(tab: Tab, to: int) -> None:
    await tab.run(
        f"(field => (field.value = {to}, field.dispatchEvent(new Event('input')),"
        " field.dispatchEvent(new Event('change'))))(document.querySelector('.moment input'))"
    )


async def _choose(tab: Tab, mode: str) -> None:
    await tab.run(
        f"(field => (field.value = {mode!r}, field.dispatchEvent(new Event('change'))))"
        "(document.querySelector('.tools select'))"
    )
