"""One browser for all tests of the page, and the page as a test opens it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.dashboard.server import Server
from tests.dashboard.page.browser import NONE, Tab, chromium, find_chromium
from tests.worker import Worker

# Kept after the tests, for people to look at.
SCREENSHOTS = Path(__file__).parents[3] / ".execstream" / "screenshots"


@pytest.fixture(scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    """A Chromium. Without one tests are skipped, and in CI they fail."""
    program = find_chromium()
    if program is None and os.environ.get("CI"):
        pytest.fail(NONE)
    if program is None:
        pytest.skip(NONE)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    async with chromium(program, tmp_path_factory.mktemp("profile"), SCREENSHOTS) as tab:
        yield tab


@pytest.fixture
async def tab(browser: Tab, server: Server, worker: Worker, bridge: Worker) -> AsyncIterator[Tab]:
    """The browser, bright and wide, with a server and workers behind it; nothing may have been
    complained of in its console at the end."""
    await browser.look()
    yield browser
    assert browser.troubles == []
    await browser.open("about:blank")
