"""The page behind a proxy that has it below a path, and the page of a share link."""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from execstream.dashboard.server import Server
from execstream.devstack.ports import HOST
from tests.dashboard.page.browser import Tab
from tests.orders import Orders
from tests.worker import Installation

pytestmark = pytest.mark.browser

PREFIX = "/tools/execstream"
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "host"}


@pytest.fixture
async def below(server: Server) -> AsyncIterator[str]:
    """The address of the page behind a proxy that knows nothing outside of PREFIX."""

    async def forward(request: web.Request) -> web.StreamResponse:
        path = request.raw_path.removeprefix(PREFIX)
        body = await request.read()
        async with session.request(
            request.method, server.url + path, headers=_passed(request.headers), data=body
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
            await response.prepare(request)
            with suppress(ConnectionResetError):  # the browser has left
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    app = web.Application()
    app.router.add_route("*", f"{PREFIX}/{{rest:.*}}", forward)
    runner = web.AppRunner(app, shutdown_timeout=1)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        try:
            yield f"http://{HOST}:{runner.addresses[0][1]}{PREFIX}/"
        finally:
            await runner.cleanup()


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    pairs = dict(headers).items()
    return {name: value for name, value in pairs if name.lower() not in _OF_A_CONNECTION}


async def test_works_below_a_path(tab: Tab, below: str, place: Installation) -> None:
    """Views, the feed and actions; nothing is asked for outside of the path."""
    run = Orders()
    await place.put([run.create(run.node("a")), run.start()])
    await place.drained()

    await tab.open(below)
    await tab.sees("document.querySelector('h1')?.innerText === 'Now'")
    await tab.open(f"{below}#/runs")
    await tab.sees("document.querySelectorAll('tbody tr').length > 0")
    await tab.open(f"{below}#/runs/{run.run_id}")
    await tab.sees("document.querySelector('.line')?.dataset.state === 'live'")
    await tab.click(".actions button", "Terminate")
    await tab.click("dialog button[value=yes]")
    await tab.sees("document.querySelector('.run-head .pill').innerText === 'Terminated'")
    asked = await tab.run("performance.getEntriesByType('resource').map(one => one.name)")
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(below)] == []
    await tab.open("about:blank")


async def test_a_share_link_opens_a_page_of_outputs(
    tab: Tab, below: str, place: Installation
) -> None:
    """It shows the outputs, offers no action, and shows nothing once sharing is stopped."""
    await place.db.execute(
        "insert into block values ('share-out', 'AgentOutputBlock', 'OUTPUT')"
        " on conflict do nothing"
    )
    given = {"name": "answer", "value": "forty-two"}
    run = Orders()
    end = run.node("end", block_id="share-out", inputs=given)
    await place.put([run.create(end), run.start(), run.move_step("end", "RUNNING")])
    await place.drained()
    await tab.open(f"{below}#/runs/{run.run_id}")
    await tab.click(".actions button", "Share")
    await tab.click("dialog button[value=yes]")
    link = await tab.sees("document.querySelector('dialog input')?.value")
    assert link.startswith(f"{below}shared.html#")

    await tab.open(link)

    await tab.shows("forty-two")
    await tab.screenshot("shared")
    assert await tab.run("document.querySelectorAll('button, a').length") == 0
    await place.put([run.order("graph.share", is_shared=False)])
    await place.drained()
    await tab.open(link)
    await tab.shows("This link shows nothing")
    tab.troubles = [trouble for trouble in tab.troubles if "404" not in trouble]
