"""The example of docs/producing.md, and reads after it, in an environment without extras."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.install.environments import Environment
from tests.install.test_bare import mypy
from tests.rooms import ROOT
from tests.worker import Installation, Worker

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

_EXAMPLE = re.compile(
    r"^## From Python\n+```python\n(?P<code>.*?)^```$.*?^```text\n(?P<printed>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def example() -> re.Match[str]:
    """The example's code, and its output according to the page."""
    found = _EXAMPLE.search((ROOT / "docs/producing.md").read_text(encoding="utf-8"))
    assert found
    return found


async def test_example(
    bare: Environment, example: re.Match[str], place: Installation, worker: Worker
) -> None:
    """It prints that output, and `list` and `show` have its run."""
    assert worker.is_alive
    of_module = place.settings.environment()
    ran = await asyncio.to_thread(bare.evaluate, example["code"], of_module)
    assert (ran.code, ran.out, ran.err) == (0, example["printed"], "")

    await place.drained()
    listed = await asyncio.to_thread(
        bare.execstream, "list", "--user", "ada", "--json", variables=of_module
    )
    (run,) = map(json.loads, listed.out.splitlines())
    assert run["status"] == "COMPLETED"
    shown = await asyncio.to_thread(bare.execstream, "show", run["id"], variables=of_module)
    assert (shown.code, shown.err) == (0, "")
    assert "subject" in shown.out


def test_example_is_typed(bare: Environment, example: re.Match[str], tmp_path: Path) -> None:
    """A strict type checker has no complaint."""
    file = tmp_path / "example.py"
    file.write_text(example["code"])
    told = bare.run(*mypy(bare, file))
    assert told.code == 0, told.out + told.err
