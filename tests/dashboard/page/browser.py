"""A headless Chromium, driven over its DevTools protocol in the event loop of the tests.

Not Selenium: its calls block, and the server under test lives in the same loop.
"""

import asyncio
import base64
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.debian import install
from tests.worker import until

PATIENCE = 20.0  # seconds
NONE = "Tests of the page are skipped: there is no Chromium here. Run `apt install chromium`."
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
)
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}


@dataclass
class Tab:
    """The one tab of a browser. `troubles`: the complaints of the console since `open`."""

    socket: aiohttp.ClientWebSocketResponse
    screenshots: Path
    troubles: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def listen(self) -> None:
        async for message in self.socket:
            told = message.json()
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if not answer.done():  # without a waiting caller
                    answer.set_result(told)
            else:
                self._hear(told["method"], told["params"])

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.troubles.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.troubles.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.troubles.append(f"{entry['text']} {entry.get('url', '')}")

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, PATIENCE)
        assert "error" not in told, told["error"]
        return told["result"]

    async def open(self, url: str) -> None:
        """Reload a page, even when only the part behind its # differs."""
        await self.call("Page.navigate", url="about:blank")
        self.troubles.clear()
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        told = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def sees(self, script: str, patience: float = PATIENCE) -> Any:
        """The first true value of an expression, which may be an element; AssertionError with the
        page's text when there is none. While it fails, the page is not that far yet.
        """
        asked = (
            f"Promise.resolve().then(() => {script})"
            ".then(it => it instanceof Node || it, () => null)"
        )
        try:
            return await until(lambda: self.run(asked), patience)
        except TimeoutError:
            text = await self.run("document.body?.innerText")
            raise AssertionError(f"never true: {script}\n{text}\n{self.troubles}") from None

    async def shows(self, text: str, patience: float = PATIENCE) -> None:
        """Return when the page shows this text."""
        await self.sees(f"document.body?.innerText.includes({text!r})", patience)

    async def click(self, selector: str, text: str = "") -> None:
        """Click the first that is selected and holds the text, once it is there."""
        all_ = f"[...document.querySelectorAll({selector!r})]"
        found = f"{all_}.find(one => one.innerText.includes({text!r}))"
        await self.sees(f"Boolean({found})")
        await self.run(f"{found}.click()")

    async def press(self, key: str) -> None:
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    async def look(self, *, dark: bool = False, width: int = 1280, height: int = 860) -> None:
        """Set how the page is looked at."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def go_offline(self, *, offline: bool) -> None:
        speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self.call("Network.emulateNetworkConditions", offline=offline, **speed)

    async def screenshot(self, name: str) -> None:
        told = await self.call("Page.captureScreenshot", format="png")
        (self.screenshots / f"{name}.png").write_bytes(base64.b64decode(told["data"]))


def find_chromium() -> str | None:
    """The path of Chromium."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@asynccontextmanager
async def chromium(program: str, profile: Path, screenshots: Path) -> AsyncIterator[Tab]:
    """A browser with nothing remembered; its process is ended with it."""
    process = await asyncio.create_subprocess_exec(
        program,
        f"--user-data-dir={profile}",
        *_OPTIONS,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port = await _port(profile)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                pages = [one for one in await listed.json() if one["type"] == "page"]
            url = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(url, max_msg_size=0) as socket:
                tab = Tab(socket, screenshots)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
    finally:
        process.terminate()
        await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children may outlive it for a moment
        await until(partial(_is_removed, profile))


async def _is_removed(profile: Path) -> bool:
    """Remove `profile`, into which a process may just have written; return whether it is gone."""
    await asyncio.to_thread(shutil.rmtree, profile, ignore_errors=True)
    return not profile.exists()


async def _port(profile: Path) -> int:
    """Chromium writes the port that it chose into its profile."""
    file = profile / "DevToolsActivePort"

    async def written() -> int:
        return int(file.read_text().split()[0]) if file.exists() and file.read_text() else 0

    return int(await until(written))


def main() -> None:
    """Install Chromium in CI; elsewhere print that its tests will be skipped. Packages of the
    system are not for tests to install unasked."""
    if find_chromium() is not None:
        return
    if os.environ.get("CI") != "true":
        print(NONE)
    elif complaint := install("chromium"):
        print(complaint)


if __name__ == "__main__":  # before the tests, so that their time does not run while apt works
    main()
